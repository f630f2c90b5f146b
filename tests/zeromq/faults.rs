//! What one peer, or the program itself, does wrong must not be felt by anybody else.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use numpush::Options;
use numpush_tests::{PATIENCE, bytes};

use crate::raw;

fn options() -> Options {
    let options = Options::new().send_timeout(PATIENCE).recv_timeout(PATIENCE);
    options.connect_timeout(PATIENCE)
}

const PING: &[u8] = b"\x04\x07\x04PING\x00\x00";

/// One behind the other.
fn after(first: &[u8], second: &[u8]) -> Vec<u8> {
    let mut both = Vec::from(first);
    both.extend(second);
    both
}

/// Waits for the answer to a ping.
fn hears_pong(socket: &mut TcpStream) {
    let mut pong = [0; 7];
    socket.read_exact(&mut pong).unwrap();
    assert_eq!(pong, *b"\x04\x05\x04PONG");
}

/// A call ends in time, and the thread that keeps all sockets goes on, while a peer sends `flood` again and again behind `begin`.
fn outlasts(begin: &[u8], flood: &[u8]) {
    let mut listener = options().listen("zmq+tcp://127.0.0.1:0").unwrap();
    let mut receiver = listener.accept().unwrap();
    let other = options().listen("zmq+tcp://127.0.0.1:0").unwrap();
    let mut pings = raw::connect(&other.address(), 1, "PUSH");
    let mut peer = raw::connect(&listener.address(), 1, "PUSH");
    let ends = AtomicBool::new(false);
    let until = Instant::now() + PATIENCE;
    thread::scope(|scope| {
        let flooding = scope.spawn(|| {
            peer.set_write_timeout(Some(Duration::from_millis(10)))
                .unwrap();
            peer.write_all(begin).unwrap();
            let many = flood.repeat((64 << 10) / flood.len());
            let mut at = 0;
            while !ends.load(Ordering::Relaxed) && Instant::now() < until {
                // A receiver that takes nothing for a moment fills the window.
                at += peer.write(&many[at..]).unwrap_or(0);
                at %= many.len();
            }
            ends.load(Ordering::Relaxed)
        });
        receiver.set_timeouts(None, Some(Duration::from_millis(100)));
        for _ in 0..3 {
            let error = receiver.recv().unwrap_err();
            assert!(error.is_timeout(), "{error:?}");
        }
        // No call is inside: the flood is the keeper's now.
        for _ in 0..3 {
            pings.write_all(PING).unwrap();
            hears_pong(&mut pings);
        }
        ends.store(true, Ordering::Relaxed);
        assert!(flooding.join().unwrap(), "it ended only with the flood");
    });
}

/// libzmq ends a connection that does not answer its pings.
#[test]
fn pings_are_answered_while_no_call_is_made() {
    let mut listener = options().listen("zmq+tcp://127.0.0.1:0").unwrap();
    let receiver = listener.accept().unwrap();
    let mut peer = raw::connect(&listener.address(), 1, "PUSH");
    // What it said is in the answer.
    peer.write_all(b"\x04\x0b\x04PING\x00\x0aback").unwrap();
    let mut pong = [0; 11];
    peer.read_exact(&mut pong).unwrap();
    assert_eq!(pong, *b"\x04\x09\x04PONGback");
    drop(receiver);
}

#[test]
fn a_flood_of_commands_hides_no_deadline() {
    outlasts(b"", b"\x04\x05\x04PONG");
}

#[test]
fn a_foreign_frame_without_end_hides_no_deadline() {
    outlasts(&raw::long_head(1 << 62, false), &[0]);
}

#[test]
fn a_message_without_end_hides_no_deadline() {
    outlasts(b"", &[1, 0]);
}

/// The answer to a ping failed, and what the peer had sent was thrown away.
#[test]
fn what_a_peer_has_sent_outlives_an_answer_that_fails() {
    let mut listener = options().listen("zmq+tcp://127.0.0.1:0").unwrap();
    let mut receiver = listener.accept().unwrap();
    let mut peer = raw::connect(&listener.address(), 1, "PUSH");
    let mut all = Vec::new();
    for seed in 0..20 {
        all.extend(PING);
        all.extend(raw::framed(&bytes(100, seed)));
    }
    peer.write_all(&all).unwrap();
    // Answers that nobody has read make the end a reset.
    hears_pong(&mut peer);
    drop(peer);
    for seed in 0..20 {
        assert_eq!(receiver.recv().unwrap().message, bytes(100, seed));
    }
}

#[derive(Clone)]
struct Panics;

impl numpush::model::BufferAllocator for Panics {
    fn allocate(
        &mut self,
        _: usize,
    ) -> Result<Box<dyn numpush::model::BufferMut>, numpush::model::AllocError> {
        panic!("the allocator of a test")
    }
}

/// The thread took a lock that a panic had poisoned for one that somebody holds.
#[test]
fn a_socket_is_kept_after_an_allocator_has_panicked() {
    let options = options().allocator(Panics);
    let mut listener = options.listen("zmq+tcp://127.0.0.1:0").unwrap();
    let mut receiver = listener.accept().unwrap();
    let mut peer = raw::connect(&listener.address(), 1, "PUSH");
    let mut pings = raw::connect(&listener.address(), 1, "PUSH");
    peer.write_all(&raw::framed(&bytes(100_000, 1))).unwrap();
    let call = std::panic::AssertUnwindSafe(|| receiver.recv().map(drop));
    std::panic::catch_unwind(call).unwrap_err();
    pings.write_all(PING).unwrap();
    hears_pong(&mut pings);
}

/// It was held for ever, whatever it did then.
#[test]
fn a_receiver_that_sends_is_let_go() {
    let endpoint = "zmq+tcp://127.0.0.1:0?socket=push";
    let mut listener = options().listen(endpoint).unwrap();
    let mut peer = raw::connect(&listener.address(), 1, "PULL");
    peer.write_all(b"\x00\x01x").unwrap();
    let mut rest = Vec::new();
    // The end, or a reset.
    let _ = peer.read_to_end(&mut rest);
    numpush_tests::eventually("a reason", || listener.take_refused().is_some());
}

/// One message that is larger than the arena was the error of each call, for ever.
#[test]
fn a_message_for_which_there_is_never_room_passes_by() {
    let options = options().allocator(numpush::shm::Arena::new(16 << 20));
    let mut listener = options.listen("zmq+tcp://127.0.0.1:0").unwrap();
    let mut receiver = listener.accept().unwrap();
    let address = listener.address();
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut sender = Options::new().connect(&address).unwrap();
            sender.set_timeouts(Some(PATIENCE), None);
            sender.send(&bytes(32 << 20, 1)).unwrap();
            sender.send(&bytes(10, 2)).unwrap();
            sender.close().unwrap();
        });
        let error = receiver.recv().unwrap_err();
        assert!(matches!(error, numpush::Error::Skipped { .. }), "{error:?}");
        assert_eq!(receiver.recv().unwrap().message, bytes(10, 2));
    });
}

/// The answer to a client that does not read waited for ever, and all other clients with it.
#[test]
fn a_client_that_does_not_read_stops_no_other() {
    let options = options().window(1 << 20);
    let mut listener = options.listen("zmq+tcp://127.0.0.1:0?socket=rep").unwrap();
    let mut server = listener.accept().unwrap();
    let address = listener.address();
    let mut stuck = raw::connect(&address, 1, "DEALER");
    let mut request = Vec::from(b"\x01\x00");
    request.extend(raw::framed(&bytes(10, 1)));
    stuck.write_all(&request.repeat(200)).unwrap();
    thread::scope(|scope| {
        let serving = scope.spawn(move || {
            loop {
                let received = server.recv().unwrap();
                // What the one does not read is its own loss.
                let _ = server.send(&bytes(512 << 10, 1));
                if received.message == bytes(20, 2) {
                    break server;
                }
            }
        });
        let endpoint = format!("{address}?socket=req");
        let mut honest = options.connect(&endpoint).unwrap();
        honest.send(&bytes(20, 2)).unwrap();
        assert_eq!(honest.recv().unwrap().message, bytes(512 << 10, 1));
        drop(serving.join().unwrap());
    });
}

/// A second answer was the answer to the next question, and one that is no message left the socket without a way out.
#[test]
fn an_answer_that_nobody_asked_for_is_none() {
    let endpoint = "zmq+tcp://127.0.0.1:0?socket=req";
    let mut listener = options().listen(endpoint).unwrap();
    let mut asks = listener.accept().unwrap();
    let mut peer = raw::connect(&listener.address(), 1, "REP");
    let answer = |seed| after(b"\x01\x00", &raw::framed(&bytes(100, seed)));
    peer.write_all(&answer(1)).unwrap();
    peer.write_all(PING).unwrap();
    hears_pong(&mut peer);
    asks.send(&bytes(10, 1)).unwrap();
    peer.write_all(b"\x01\x00\x00\x03abc").unwrap();
    let error = asks.recv().unwrap_err();
    assert!(matches!(error, numpush::Error::Skipped { .. }), "{error:?}");
    asks.send(&bytes(10, 2)).unwrap();
    peer.write_all(&after(&answer(2), &answer(3))).unwrap();
    assert_eq!(asks.recv().unwrap().message, bytes(100, 2));
    asks.send(&bytes(10, 3)).unwrap();
    peer.write_all(&answer(4)).unwrap();
    assert_eq!(asks.recv().unwrap().message, bytes(100, 4));
}

/// A connection that ended while `close` waited took its messages with it, and `close` had done well.
#[test]
fn a_close_tells_of_what_was_lost() {
    let options = options().window(64 << 20);
    let endpoint = "zmq+tcp://127.0.0.1:0?socket=push";
    let mut listener = options.listen(endpoint).unwrap();
    let address = listener.address();
    let mut sender = listener.accept().unwrap();
    let dies = raw::connect(&address, 1, "PULL");
    // It waits until the peer has a place.
    sender.send(&bytes(16 << 10, 1)).unwrap();
    // More than two kernels take, of which the first has not all.
    for _ in 0..1000 {
        sender.try_send(&bytes(16 << 10, 1)).unwrap();
    }
    thread::scope(|scope| {
        let closing = scope.spawn(|| sender.close());
        drop(dies);
        // Another one gets what the first has not whole.
        let mut other = options.connect(&format!("{address}?socket=pull")).unwrap();
        other.set_timeouts(None, Some(Duration::from_millis(1)));
        while !closing.is_finished() {
            let _ = other.recv();
        }
        let error = closing.join().unwrap().unwrap_err();
        assert!(
            matches!(error, numpush::Error::Disconnected { missing: 1.., .. }),
            "{error:?}"
        );
    });
}

/// Its pings lay behind a message that nobody took, and nothing told it that this side was there.
#[test]
fn a_peer_whose_message_waits_hears_that_this_side_is_there() {
    let mut listener = options().listen("zmq+tcp://127.0.0.1:0").unwrap();
    let mut receiver = listener.accept().unwrap();
    let mut peer = raw::connect(&listener.address(), 1, "PUSH");
    let message = raw::framed(&bytes(100_000, 1));
    peer.write_all(&after(&message, PING)).unwrap();
    for _ in 0..3 {
        hears_pong(&mut peer);
    }
    assert_eq!(receiver.recv().unwrap().message, bytes(100_000, 1));
    // The ping behind it, and a message for which nobody waits.
    hears_pong(&mut peer);
    peer.write_all(&message).unwrap();
    hears_pong(&mut peer);
}

/// A question whose peer died before the answer was asked for was one that had never been.
#[test]
fn a_peer_that_dies_before_it_answers_is_told() {
    let endpoint = "zmq+tcp://127.0.0.1:0?socket=req";
    let mut listener = options().listen(endpoint).unwrap();
    let mut asks = listener.accept().unwrap();
    let mut dies = raw::connect(&listener.address(), 1, "REP");
    asks.send(&bytes(10, 1)).unwrap();
    dies.read_exact(&mut [0; 10]).unwrap();
    drop(dies);
    // The thread has seen both by then.
    let mut answers = raw::connect(&listener.address(), 1, "REP");
    answers.write_all(PING).unwrap();
    hears_pong(&mut answers);
    let error = asks.recv().unwrap_err();
    assert!(
        matches!(error, numpush::Error::Disconnected { .. }),
        "{error:?}"
    );
    asks.send(&bytes(10, 2)).unwrap();
    let answer = after(b"\x01\x00", &raw::framed(&bytes(100, 2)));
    answers.write_all(&answer).unwrap();
    assert_eq!(asks.recv().unwrap().message, bytes(100, 2));
}

/// A socket whose question had no answer could do nothing any more.
#[test]
fn who_has_waited_in_vain_may_ask_again() {
    let endpoint = "zmq+tcp://127.0.0.1:0?socket=req";
    let mut listener = options().listen(endpoint).unwrap();
    let mut asks = listener.accept().unwrap();
    let mut silent = raw::connect(&listener.address(), 1, "REP");
    asks.send(&bytes(10, 1)).unwrap();
    let error = asks.send(&bytes(10, 1)).unwrap_err();
    assert!(
        matches!(error, numpush::Error::Unsupported { .. }),
        "{error:?}"
    );
    asks.set_timeouts(Some(PATIENCE), Some(Duration::from_millis(1)));
    assert!(asks.recv().unwrap_err().is_timeout());
    asks.set_timeouts(Some(PATIENCE), Some(PATIENCE));
    let mut answers = raw::connect(&listener.address(), 1, "REP");
    asks.send(&bytes(10, 2)).unwrap();
    // A late answer would be taken for that to the next question.
    let _ = silent.read_to_end(&mut Vec::new());
    let answer = after(b"\x01\x00", &raw::framed(&bytes(100, 2)));
    answers.write_all(&answer).unwrap();
    assert_eq!(asks.recv().unwrap().message, bytes(100, 2));
}
