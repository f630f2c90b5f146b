//! Who waits for whom, and who does not.

use std::net::TcpListener;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::sys::socket::{getsockopt, sockopt};
use numpush::wire::Hello;
use numpush::{Error, Message, Options};
use numpush_tests::{PATIENCE, bytes};

use crate::{MOMENT, pairs, plain_pairs};

/// C1: the kernel ended a connection whose peer computed for 30 s with a full buffer.
#[test]
fn no_limit_of_the_kernel_is_set_on_what_a_peer_takes_in() {
    for pair in plain_pairs() {
        let socket = pair.near.descriptor().unwrap();
        if pair.near.peer().starts_with("tcp") {
            let timeout = getsockopt(&socket.as_fd(), sockopt::TcpUserTimeout).unwrap();
            assert_eq!(timeout, 0);
        }
    }
}

/// A cable is cut while bytes are on their way, so that the kernel sends no probes: it gives up after 15 minutes.
#[test]
fn a_network_that_is_cut_is_found_by_who_waits() {
    for timeout in [None, Some(PATIENCE)] {
        let options = Options::new().patience(Duration::from_secs(1));
        for mut pair in pairs(&options, &Options::new()) {
            if !pair.near.peer().starts_with("tcp") {
                continue;
            }
            pair.near.send(&bytes(10, 1)).unwrap();
            pair.far.recv().unwrap();
            numpush_os::cut_off(pair.far.descriptor().unwrap()).unwrap();
            pair.near.send(&bytes(10, 2)).unwrap();
            pair.near.set_timeouts(timeout, timeout);
            let error = pair.near.recv().unwrap_err();
            assert!(matches!(error, Error::Disconnected { .. }), "{error:?}");
            let error = pair.near.send(&bytes(10, 3)).unwrap_err();
            assert!(matches!(error, Error::Disconnected { .. }), "{error:?}");
        }
    }
}

/// The receiver computes for longer than its peer is patient, and the peer has filled all room that there is.
#[test]
fn a_peer_that_does_not_read_for_long_is_not_given_up() {
    let options = Options::new().patience(Duration::from_millis(200));
    for mut pair in pairs(&options, &Options::new()) {
        let large = bytes(64 << 20, 1);
        pair.near
            .set_timeouts(Some(Duration::from_secs(2)), Some(PATIENCE));
        let error = pair.near.send(&large).err();
        assert!(error.is_none_or(|error| error.is_recoverable()));
        pair.near.set_timeouts(Some(PATIENCE), Some(PATIENCE));
        let far = &mut pair.far;
        std::thread::scope(|scope| {
            scope.spawn(|| assert_eq!(far.recv().unwrap().message, large));
            pair.near.flush().unwrap();
        });
    }
}

/// M6: the receiver of the last message makes no further call, and its peer waited forever.
#[test]
fn a_message_is_acknowledged_though_its_receiver_makes_no_call() {
    for mut pair in plain_pairs() {
        pair.near.send(&bytes(10, 1)).unwrap();
        pair.far.recv().unwrap();
        pair.far.send(&bytes(10, 2)).unwrap();
        pair.near.recv().unwrap();
        pair.near.send(&bytes(10, 3)).unwrap();
        pair.far.recv().unwrap();
        pair.near.flush().unwrap();
        assert_eq!(pair.near.status().in_flight, 0);
    }
}

/// What is queued for the peer was written, and then the peer was waited for, which had nothing to say to it.
#[test]
fn a_flush_that_has_only_to_write_waits_for_nobody() {
    for mut pair in plain_pairs() {
        let mut memory = numpush::unix::SealedBufferMut::new(1 << 20).unwrap();
        memory.as_mut_slice().fill(1);
        let message = Message::new(memory.seal().unwrap());
        pair.near.set_timeouts(Some(PATIENCE), Some(PATIENCE));
        pair.near.send(&message).unwrap();
        drop(pair.far.recv().unwrap());
        assert!(pair.far.try_recv().unwrap_err().is_timeout());
        pair.near.flush().unwrap();
        assert!(pair.near.try_recv().unwrap_err().is_timeout());
        // Over unix the peer is told to forget the memory.
        drop(message);
        let begin = Instant::now();
        pair.near.flush().unwrap();
        assert!(begin.elapsed() < PATIENCE, "it waited until it might not");
    }
}

/// M7: for 30 s the handshake looked at no timeout, and the connection was dead after it.
#[test]
fn a_wait_for_the_peers_hello_ends_in_time_and_harms_nothing() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let options = Options::new().recv_timeout(Duration::ZERO);
    let address = format!("tcp://{}", server.local_addr().unwrap());
    let mut link = options.connect(&address).unwrap();
    let error = link.recv().unwrap_err();
    assert!(error.is_timeout() && error.is_recoverable(), "{error:?}");
    link.set_timeouts(Some(Duration::ZERO), None);
    let error = link.send(&bytes(10, 1)).unwrap_err();
    assert!(error.is_timeout() && error.is_recoverable(), "{error:?}");
    let (mut raw, _) = server.accept().unwrap();
    std::io::Write::write_all(&mut raw, &Hello::new(1 << 20).encode()).unwrap();
    link.set_timeouts(Some(PATIENCE), None);
    link.send(&bytes(10, 1)).unwrap();
}

/// Credit comes back although all acknowledgements went with answers: a message as large as all of it can go.
#[test]
fn credit_that_answers_did_not_bring_back_comes_when_it_is_needed() {
    let credit = 1 << 20;
    let options = Options::new().credit(credit);
    for mut pair in pairs(&options, &options) {
        for at in 0..50 {
            pair.near.send(&bytes(1000, at)).unwrap();
            let message = pair.far.recv().unwrap().message;
            pair.far.send(&message).unwrap();
            pair.near.recv().unwrap();
        }
        let mut far = pair.far;
        let receiving = std::thread::spawn(move || far.recv().unwrap().message);
        let large = bytes((1 << 20) - 1000, 1);
        pair.near.send(&large).unwrap();
        assert!(receiving.join().unwrap() == large);
    }
}

#[test]
fn the_status_counts_what_waits() {
    for mut pair in plain_pairs() {
        for at in 0..3 {
            pair.near.send(&bytes(1000, at)).unwrap();
        }
        let status = pair.near.status();
        assert_eq!((status.in_flight, status.unwritten), (3, 0));
        assert!(status.in_flight_bytes >= 3000 && status.credit > 1 << 20);
        pair.far.recv().unwrap();
        assert!(pair.far.has_input(), "the others came with the first");
        for _ in 0..2 {
            pair.far.recv().unwrap();
        }
        assert!(!pair.far.has_input());
        pair.near.flush().unwrap();
        assert_eq!(pair.near.status().in_flight, 0);
        assert!(matches!(pair.far.try_recv(), Err(Error::Timeout { .. })));
    }
}

/// A call that spins ends when the message is there, when its time is over, when it is cancelled and when the peer is gone.
#[test]
fn a_spin_ends_as_any_wait_does() {
    let options = Options::new().spin(Duration::from_secs(1)).credit(1000);
    for mut pair in pairs(&options, &options) {
        std::thread::scope(|scope| {
            let far = &mut pair.far;
            scope.spawn(move || {
                for at in 0..100 {
                    let message = far.recv().unwrap().message;
                    assert!(message == bytes(500, at));
                    far.send(&message).unwrap();
                }
            });
            for at in 0..100 {
                pair.near.send(&bytes(500, at)).unwrap();
                assert!(pair.near.recv().unwrap().message == bytes(500, at));
            }
        });
        assert!(pair.near.try_recv().unwrap_err().is_timeout());
        pair.near.set_timeouts(Some(MOMENT), Some(MOMENT));
        assert!(pair.near.recv().unwrap_err().is_timeout());
        let full = (0..100).find_map(|at| pair.near.send(&bytes(500, at)).err());
        assert!(full.is_some_and(|error| error.is_timeout()));
        pair.near.set_timeouts(None, None);
        let canceller = pair.near.canceller().unwrap();
        let cancelling = std::thread::spawn(move || canceller.cancel());
        let error = pair.near.recv().unwrap_err();
        assert!(matches!(error, Error::Cancelled { .. }), "{error:?}");
        cancelling.join().unwrap();
        drop(pair.far);
        assert!(!pair.near.recv().unwrap_err().is_recoverable());
    }
}

#[test]
fn a_time_in_an_endpoint_has_a_unit() {
    for (value, is_time) in [("20us", true), ("1ms", true), ("20", false), ("us", false)] {
        let listener = Options::new().listen(&format!("tcp://127.0.0.1:0?spin={value}"));
        assert_eq!(listener.is_ok(), is_time, "{value}");
    }
}
