//! What only ZeroMQ sockets do.
#![cfg(feature = "zmq")]
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::sync::mpsc;
use std::time::Duration;

use numpush_message::{Buffer, Message};
use numpush_transports::{Error, connect, listen};

/// A dropped connection waits this long for its queue to be written.
const LINGER: Duration = Duration::from_secs(2);

#[test]
fn close_waits_until_a_slow_receiver_has_taken_all() {
    let mut listener = listen("zmq+tcp://127.0.0.1:0").unwrap();
    let address = listener.address();
    let mut receiver = listener.accept().unwrap();
    let (closed, is_closed) = mpsc::channel();
    let len = 64 << 20;
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut sender = connect(&address).unwrap();
            let message = Message::new(Buffer::from(vec![7; len]));
            sender.send(&message).unwrap();
            closed.send(sender.close()).unwrap();
        });
        let early = is_closed.recv_timeout(LINGER + Duration::from_secs(1));
        assert!(early.is_err(), "nobody has read a byte: {early:?}");
        assert_eq!(receiver.recv().unwrap().message.payload_len(), len as u64);
        is_closed.recv().unwrap().unwrap();
    });
}

#[test]
fn a_second_accept_is_an_error_and_does_not_wait() {
    let mut listener = listen("zmq+tcp://127.0.0.1:0").unwrap();
    let _all_peers = listener.accept().unwrap();
    let error = listener.accept().unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }), "{error:?}");
    assert!(listener.incoming().next().is_none());
}
