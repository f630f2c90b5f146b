//! What one end learns of the other: that it closed, that it has everything, that it reads nothing.

use std::thread;

use numpush::Error;
use numpush::transfer::Operation;
use numpush_tests::bytes;

use crate::rig::{Rig, short};

pub(crate) fn close_is_seen_after_the_last_message(rig: &Rig) {
    let (mut tx, mut rx, _listener) = rig.pair();
    thread::scope(|scope| {
        scope.spawn(move || {
            tx.send(&bytes(100, 1)).unwrap();
            tx.send(&bytes(1 << 20, 2)).unwrap();
            tx.close().unwrap();
        });
        assert_eq!(rx.recv().unwrap().message, bytes(100, 1));
        assert_eq!(rx.recv().unwrap().message, bytes(1 << 20, 2));
        assert!(matches!(rx.recv().unwrap_err(), Error::Closed { .. }));
    });
}

pub(crate) fn what_was_sent_before_a_drop_arrives(rig: &Rig) {
    let (mut tx, mut rx, _listener) = rig.pair();
    thread::scope(|scope| {
        scope.spawn(move || {
            tx.send(&bytes(5 << 20, 2)).unwrap();
            drop(tx);
        });
        assert!(rx.recv().unwrap().message == bytes(5 << 20, 2));
        assert!(matches!(rx.recv().unwrap_err(), Error::Closed { .. }));
    });
}

pub(crate) fn flush_waits_for_the_peer(rig: &Rig) {
    let (mut tx, mut rx, _listener) = rig.pair_with(&short());
    tx.send(&bytes(100, 1)).unwrap();
    let error = tx.flush().unwrap_err();
    assert!(
        matches!(
            error,
            Error::Timeout {
                operation: Operation::Flush,
                ..
            }
        ),
        "nobody has read it: {error:?}"
    );
    thread::scope(|scope| {
        scope.spawn(|| {
            assert_eq!(rx.recv().unwrap().message, bytes(100, 1));
            // The next call tells the peer at the latest.
            let _ = rx.recv();
        });
        tx.set_timeouts(Some(numpush_tests::PATIENCE), None);
        tx.flush().unwrap();
    });
}

pub(crate) fn a_receiver_that_does_not_read_stops_the_sender(rig: &Rig) {
    let options = short().window(8 << 20);
    let (mut tx, rx, _listener) = rig.pair_with(&options);
    let message = bytes(1 << 20, 1);
    let sent = (0..200).take_while(|_| tx.send(&message).is_ok()).count();
    assert!(
        sent < 100,
        "{sent} MiB were taken by a receiver that reads nothing"
    );
    drop(rx);
}
