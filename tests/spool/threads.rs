//! Connections through a folder that more than one thread uses.

use std::thread;
use std::time::Duration;

use numpush::transfer::Acknowledge;
use numpush::{Connection, Error, Listener};
use numpush_tests::bytes;

use crate::{Place, accept, patient};

fn pair(place: &Place) -> (Connection, Connection, Listener) {
    let mut listener = patient().listen(&place.endpoint()).unwrap();
    let near = patient().connect(&place.endpoint()).unwrap();
    let far = accept(&mut listener);
    (near, far, listener)
}

#[test]
fn halves_send_and_receive_at_once() {
    let place = Place::new("halves");
    let (near, far, listener) = pair(&place);
    thread::scope(|scope| {
        for connection in [near, far] {
            let (mut tx, mut rx) = connection.split().unwrap();
            scope.spawn(move || {
                for at in 0..20 {
                    tx.send(&bytes(1 << 20, at)).unwrap();
                }
                tx.close().unwrap();
            });
            scope.spawn(move || {
                for at in 0..20 {
                    assert_eq!(rx.recv().unwrap().message, bytes(1 << 20, at));
                }
                assert!(rx.recv().unwrap_err().is_closed());
            });
        }
    });
    drop(listener);
    place.is_empty_after_a_sweep("halves");
}

#[test]
fn the_other_direction_stays_open_after_close_sending() {
    let place = Place::new("close-sending");
    let (mut near, mut far, _listener) = pair(&place);
    near.send(&bytes(10, 1)).unwrap();
    assert_eq!(near.status().in_flight, 1);
    let peer = thread::spawn(move || {
        let question = far.recv().unwrap();
        assert!(far.recv().unwrap_err().is_closed());
        far.send_tagged(&bytes(10, 2), question.reply_tag())
            .unwrap();
        far.close().unwrap();
    });
    near.close_sending().unwrap();
    let answer = near.recv().unwrap();
    assert!(answer.message == bytes(10, 2) && answer.reply_to == 1);
    let error = near.send(&bytes(1, 1)).unwrap_err();
    assert!(error.is_closed(), "{error:?}");
    assert!(near.recv().unwrap_err().is_closed());
    peer.join().unwrap();
}

#[test]
fn a_cancelled_call_ends_and_the_next_one_works() {
    let place = Place::new("cancelled");
    let (mut near, mut far, _listener) = pair(&place);
    let canceller = near.canceller().unwrap();
    let cancel = thread::spawn(move || canceller.cancel());
    let error = near.recv().unwrap_err();
    assert!(matches!(error, Error::Cancelled { .. }), "{error:?}");
    cancel.join().unwrap();
    far.send(&bytes(10, 1)).unwrap();
    assert_eq!(near.recv().unwrap().message, bytes(10, 1));
    let canceller = far.canceller().unwrap();
    near.send(&bytes(10, 2)).unwrap();
    near.set_timeouts(Some(Duration::ZERO), None);
    assert!(near.flush().unwrap_err().is_timeout());
    assert!(far.has_input());
    canceller.cancel();
    // What is there is received without a wait.
    assert_eq!(far.recv().unwrap().message, bytes(10, 2));
    near.flush().unwrap();
    assert!(!far.has_input());
}

/// The other half may still work on it.
#[test]
fn a_half_that_flushes_acknowledges_nothing() {
    let place = Place::new("flushing-half");
    let options = patient().acknowledge(Acknowledge::OnNextCall);
    let mut listener = options.listen(&place.endpoint()).unwrap();
    let mut near = patient().connect(&place.endpoint()).unwrap();
    near.send(&bytes(10, 1)).unwrap();
    let (mut tx, mut rx) = accept(&mut listener).split().unwrap();
    rx.recv().unwrap();
    tx.flush().unwrap();
    assert_eq!(near.status().in_flight, 1);
    rx.set_timeout(Some(Duration::ZERO));
    assert!(rx.recv().unwrap_err().is_timeout());
    assert_eq!(near.status().in_flight, 0);
}
