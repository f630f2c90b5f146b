//! Calls that end before they are done: what is held then, and what comes of it.

use std::time::Duration;

use numpush::{Buffer, Error, Message, Options};
use numpush_tests::bytes;

use crate::{MOMENT, pairs, plain_pairs, sockets};

/// M2: half a record was written, the error said "nothing is lost, call again", and the connection was dead.
#[test]
fn the_rest_of_a_message_goes_with_later_calls() {
    // With checksums a message over unix is written too.
    let options = Options::new().checksums(numpush::transfer::Switch::On);
    for mut pair in sockets(&options, &options) {
        let mut memory: Vec<u8> = (0..=255).cycle().take(48 << 20).collect();
        let sent = Message::new(Buffer::copy_of(&memory));
        pair.near.set_timeouts(Some(MOMENT), None);
        let error = pair
            .near
            .send(&Message::new(Buffer::borrowed(&memory)))
            .unwrap_err();
        let Error::Unfinished { id, .. } = &error else {
            panic!("{error:?}");
        };
        assert!(*id == 1 && error.is_recoverable());
        // The caller's memory is its own again.
        memory.fill(0);
        assert!(pair.near.status().unwritten > 0);
        pair.near.set_timeouts(Some(numpush_tests::PATIENCE), None);
        let mut near = pair.near;
        let sending = std::thread::spawn(move || {
            near.send(&bytes(10, 2)).unwrap();
            near.close().unwrap();
        });
        assert!(pair.far.recv().unwrap().message == sent);
        assert!(pair.far.recv().unwrap().message == bytes(10, 2));
        assert!(pair.far.recv().unwrap_err().is_closed());
        sending.join().unwrap();
    }
}

#[test]
fn a_message_that_could_not_begin_is_sent_once() {
    let narrow = Options::new().window(100);
    for mut pair in pairs(&narrow, &Options::new()) {
        pair.near.send(&bytes(1000, 1)).unwrap();
        pair.near.set_timeouts(Some(Duration::ZERO), None);
        for _ in 0..3 {
            let error = pair.near.send(&bytes(1000, 2)).unwrap_err();
            assert!(error.is_timeout(), "{error:?}");
        }
        assert_eq!(pair.near.status().in_flight, 1);
        assert!(pair.far.recv().unwrap().message == bytes(1000, 1));
        pair.near.set_timeouts(Some(numpush_tests::PATIENCE), None);
        pair.near.send(&bytes(1000, 2)).unwrap();
        assert!(pair.far.recv().unwrap().message == bytes(1000, 2));
        pair.near.close().unwrap();
        assert!(pair.far.recv().unwrap_err().is_closed());
    }
}

#[test]
fn the_other_direction_stays_open_after_close_sending() {
    for mut pair in plain_pairs() {
        pair.near.send(&bytes(10, 1)).unwrap();
        let mut far = pair.far;
        let peer = std::thread::spawn(move || {
            let question = far.recv().unwrap();
            assert!(far.recv().unwrap_err().is_closed());
            let tag = question.reply_tag();
            far.send_tagged(&bytes(1 << 20, 2), tag).unwrap();
            far.close().unwrap();
        });
        pair.near.close_sending().unwrap();
        let answer = pair.near.recv().unwrap();
        assert!(answer.message == bytes(1 << 20, 2) && answer.reply_to == 1);
        assert!(pair.near.recv().unwrap_err().is_closed());
        let error = pair.near.send(&bytes(1, 1)).unwrap_err();
        assert!(error.is_closed(), "{error:?}");
        peer.join().unwrap();
    }
}

/// One thread drives both ends, and none of its calls waits.
#[test]
fn calls_that_do_not_wait_move_everything() {
    for mut pair in plain_pairs() {
        let (mut sent, mut received) = (0, 0);
        while received < 40 {
            if sent < 40 && pair.near.try_send(&bytes(3 << 20, sent)).is_ok() {
                sent += 1;
            }
            // A call that would wait writes what waits, too.
            let polled = pair.near.try_recv().map(drop).unwrap_err();
            assert!(polled.is_timeout(), "{polled:?}");
            match pair.far.try_recv() {
                Ok(message) => {
                    assert!(message.message == bytes(3 << 20, received));
                    received += 1;
                }
                Err(error) => assert!(error.is_timeout(), "{error:?}"),
            }
        }
        assert_eq!(sent, 40);
    }
}

/// M19: what the peer had said was lost with the first write that failed.
#[test]
fn what_came_before_the_peer_hung_up_is_received() {
    for mut pair in plain_pairs() {
        for at in 0..3 {
            pair.far.send(&bytes(1000, at)).unwrap();
        }
        drop(pair.far);
        let failed = (0..1000).find_map(|_| pair.near.send(&bytes(100_000, 9)).err());
        let error = failed.expect("a peer that is gone takes nothing");
        assert!(matches!(error, Error::Disconnected { .. }), "{error:?}");
        for at in 0..3 {
            assert!(pair.near.recv().unwrap().message == bytes(1000, at));
        }
        assert!(pair.near.recv().unwrap_err().is_closed());
    }
}

/// sendfile(2) has no flag against waiting: a peer that did not read held up the call, whatever its timeout was.
#[test]
fn a_file_that_nobody_takes_holds_up_nobody() {
    let options = Options::new().sendfile(numpush::transfer::Switch::On);
    let mut pair = sockets(&options, &options).swap_remove(0);
    let mut memory = numpush::unix::SealedBufferMut::new(64 << 20).unwrap();
    memory.as_mut_slice().fill(3);
    let message = Message::new(memory.seal().unwrap());
    pair.near.set_timeouts(Some(MOMENT), None);
    let error = pair.near.send(&message).unwrap_err();
    assert!(matches!(error, Error::Unfinished { .. }), "{error:?}");
    pair.near.set_timeouts(Some(numpush_tests::PATIENCE), None);
    let near = pair.near;
    let sending = std::thread::spawn(move || near.close().unwrap());
    assert!(pair.far.recv().unwrap().message == message);
    assert!(pair.far.recv().unwrap_err().is_closed());
    sending.join().unwrap();
}

/// What a thread has sent that panics may not be all: the peer must not take it for that.
#[test]
fn a_sender_that_unwinds_has_not_closed() {
    for mut pair in plain_pairs() {
        let mut near = pair.near;
        let unwound = std::thread::spawn(move || {
            near.send(&bytes(100, 1)).unwrap();
            std::panic::resume_unwind(Box::new("as a panic, without its message"));
        });
        unwound.join().unwrap_err();
        assert!(pair.far.recv().unwrap().message == bytes(100, 1));
        let error = pair.far.recv().unwrap_err();
        assert!(matches!(error, Error::Disconnected { .. }), "{error:?}");
    }
}
