//! What is refused, or comes too late, is an error with a name, and the link goes on.

use std::time::{Duration, Instant};

use numpush::transfer::{Operation, Scheme};
use numpush::{Error, Options};
use numpush_tests::bytes;

use crate::rig::{Rig, accept};

pub(crate) fn a_wait_for_a_message_ends_in_time_and_harms_nothing(rig: &Rig) {
    let (mut tx, mut rx, _listener) = rig.pair();
    rx.set_timeouts(None, Some(Duration::from_millis(100)));
    let began = Instant::now();
    let error = rx.recv().unwrap_err();
    assert!(
        matches!(
            error,
            Error::Timeout {
                operation: Operation::Recv,
                ..
            }
        ),
        "{error:?}"
    );
    assert!(
        began.elapsed() >= Duration::from_millis(90),
        "a timeout is not early"
    );
    rx.set_timeouts(None, Some(numpush_tests::PATIENCE));
    tx.send(&bytes(10, 1)).unwrap();
    assert_eq!(rx.recv().unwrap().message, bytes(10, 1));
}

pub(crate) fn a_message_too_large_is_an_error_and_harms_nothing(rig: &Rig) {
    let options = Options::new().max_message(1000);
    let (mut tx, mut rx, _listener) = rig.pair_with(&options);
    let error = tx.send(&bytes(2000, 1)).unwrap_err();
    assert!(
        matches!(
            error,
            Error::TooLarge {
                len: 2048,
                limit: 1000,
                ..
            }
        ),
        "{error:?}"
    );
    tx.send(&bytes(900, 1)).unwrap();
    assert_eq!(rx.recv().unwrap().message, bytes(900, 1));
}

pub(crate) fn the_peers_limit_counts_too(rig: &Rig) {
    let options = Options::new().max_message(1000);
    let mut listener = rig.listen_with(&options);
    let mut tx = rig.connect(&listener);
    let mut rx = accept(&mut listener);
    if tx.send(&bytes(2000, 1)).is_err() {
        tx.send(&bytes(900, 1)).unwrap();
        assert_eq!(rx.recv().unwrap().message, bytes(900, 1));
    } else {
        // The medium tells the sender nothing of the receiver; the receiver passes it over then.
        let error = rx.recv().unwrap_err();
        if rig.scheme == Scheme::File {
            assert!(matches!(error, Error::InvalidMessage { .. }), "{error:?}");
            return;
        }
        assert!(matches!(error, Error::Skipped { .. }), "{error:?}");
        tx.send(&bytes(900, 1)).unwrap();
        assert_eq!(rx.recv().unwrap().message, bytes(900, 1));
    }
}

pub(crate) fn a_message_that_breaks_the_format_is_an_error_and_harms_nothing(rig: &Rig) {
    let (mut tx, mut rx, _listener) = rig.pair();
    let bad = bytes(10, 1).with_attribute("nul\0", "");
    let error = tx.send(&bad).unwrap_err();
    assert!(matches!(error, Error::Message(_)), "{error:?}");
    tx.send(&bytes(10, 1)).unwrap();
    assert_eq!(rx.recv().unwrap().message, bytes(10, 1));
}

pub(crate) fn nobody_there_is_told_in_time(rig: &Rig) {
    let options = Options::new().connect_timeout(Duration::from_millis(100));
    let endpoint = match rig.scheme {
        // A port that was free a moment ago.
        Scheme::Tcp | Scheme::ZmqTcp => {
            let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            format!("{}://{}", rig.scheme, socket.local_addr().unwrap())
        }
        _ => rig.endpoint(),
    };
    let error = options.connect(&endpoint).map(drop).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Io {
                operation: Operation::Connect,
                ..
            }
        ),
        "{error:?}"
    );
}
