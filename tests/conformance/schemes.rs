//! What one scheme alone has: publishers, addresses of several forms, and whom they trust.

use std::thread;

use numpush::transfer::{Operation, Scheme};
use numpush::{Connection, Error};
use numpush_tests::bytes;

use crate::MANY;
use crate::rig::{Rig, accept};

#[test]
fn a_publisher_reaches_every_subscriber() {
    let rig = Rig::new(Scheme::ZmqTcp, ("?socket=pub", "?socket=sub"), MANY);
    let mut listener = rig.listen();
    let mut publisher = accept(&mut listener);
    let mut subscribers: Vec<Connection> = (0..3).map(|_| rig.connect(&listener)).collect();
    let done = &std::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        // A subscription takes a moment to arrive, and what is published before is not for the late.
        scope.spawn(move || {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                publisher.send(&bytes(1000, 7)).unwrap();
                thread::yield_now();
            }
        });
        for subscriber in &mut subscribers {
            subscriber.set_timeouts(None, Some(numpush_tests::PATIENCE));
            assert_eq!(subscriber.recv().unwrap().message, bytes(1000, 7));
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn a_file_that_was_accepted_is_only_received() {
    let rig = Rig::new(Scheme::File, ("", ""), 1);
    let mut listener = rig.listen();
    rig.connect(&listener).send(&bytes(1000, 1)).unwrap();
    let mut accepted = accept(&mut listener);
    let error = accepted.send(&bytes(1000, 2)).unwrap_err();
    let Error::Unsupported { operation, .. } = error else {
        panic!("{error:?}")
    };
    assert_eq!(operation, Operation::Send);
    assert_eq!(accepted.recv().unwrap().message, bytes(1000, 1));
}

#[test]
fn a_zmq_listener_that_others_can_reach_must_be_trusted() {
    let error = numpush::listen("zmq+tcp://0.0.0.0:0")
        .map(drop)
        .unwrap_err();
    assert!(error.to_string().contains("trusted=1"), "{error}");
    numpush::listen("zmq+tcp://0.0.0.0:0?trusted=1").unwrap();
}

#[test]
fn ipv6_and_host_names_work() {
    for address in ["tcp://[::1]:0", "tcp://localhost:0"] {
        let mut listener = numpush::listen(address).unwrap();
        let mut tx = numpush::connect(&listener.address()).unwrap();
        let mut rx = accept(&mut listener);
        tx.send(&bytes(10, 1)).unwrap();
        assert_eq!(rx.recv().unwrap().message, bytes(10, 1));
    }
}
