//! The calls of a poller, and what they leave.

use std::time::{Duration, Instant};

use numpush::poller::{Event, Sent};
use numpush::transfer::Tag;
use numpush::{Buffer, Error, Message, Options, Poller};
use numpush_tests::{PATIENCE, TempPath, bytes, eventually};

use crate::{MOMENT, join, listeners, listeners_of, next};

const COUNT: u8 = 30;

#[test]
fn messages_come_in_order_and_answers_go_back() {
    for (mut listener, _place) in listeners_of(&["tcp", "unix", "inproc"], &Options::new()) {
        let mut poller = Poller::new().unwrap();
        let (mut near, key) = join(&mut poller, &mut listener);
        // So many fit into the buffer of a unix socket.
        for at in 0..COUNT {
            near.send(&bytes(1000, at)).unwrap();
        }
        for at in 0..COUNT {
            let Event::Message {
                key: from,
                received,
            } = next(&mut poller)
            else {
                panic!("no message");
            };
            assert!(from == key && received.message == bytes(1000, at));
            let tag = received.reply_tag();
            let sent = poller.send_tagged(key, &received.message, tag).unwrap();
            assert!(matches!(sent, Sent::Begun(_)));
        }
        for at in 0..COUNT {
            let received = near.recv().unwrap();
            assert!(received.message == bytes(1000, at));
            assert_eq!(received.reply_to, u64::from(at) + 1);
        }
        near.close().unwrap();
        let mut events = vec![next(&mut poller)];
        if matches!(events[0], Event::Closed { .. }) {
            events.push(next(&mut poller));
        }
        let Some(Event::Ended {
            key: ended,
            error: None,
            ..
        }) = events.pop()
        else {
            panic!("no end: {events:?}");
        };
        assert!(ended == key && poller.is_empty());
        assert!(matches!(
            poller.send(key, &bytes(1, 1)),
            Err(Error::UnknownKey { .. })
        ));
    }
}

#[test]
fn a_wait_ends_in_time_and_by_its_waker() {
    let mut poller = Poller::new().unwrap();
    assert!(poller.wait(Duration::ZERO).unwrap().is_none());
    let start = Instant::now();
    assert!(poller.wait(MOMENT).unwrap().is_none());
    assert!(start.elapsed() >= MOMENT);
    let waker = poller.waker();
    std::thread::spawn(move || waker.wake());
    assert!(matches!(next(&mut poller), Event::Woken));
}

/// What the socket does not take is kept, then queued up to the limit, and all of it arrives in order.
#[test]
fn a_queue_is_bounded_and_goes_when_the_peer_reads() {
    let options = Options::new().credit(32 << 10);
    let limit = 64 << 10;
    for (mut listener, _place) in listeners(&options) {
        let mut poller = Poller::new().unwrap();
        poller.set_queue_limit(limit);
        let mut near = options.connect(&listener.address()).unwrap();
        let key = poller.add(listener.accept_for(PATIENCE).unwrap()).unwrap();
        let mut sent = 0_u8;
        let error = loop {
            match poller.send(key, &bytes(1000, sent)) {
                Ok(_) => sent += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, Error::QueueFull { .. }), "{error:?}");
        assert!(error.is_recoverable());
        let (messages, queued) = poller.queued(key);
        assert!(messages > 2 && queued <= limit, "{messages} {queued}");
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                for at in 0..sent {
                    assert!(near.recv().unwrap().message == bytes(1000, at));
                }
                near.send(&bytes(1, 7)).unwrap();
            });
            assert!(matches!(next(&mut poller), Event::Message { .. }));
            reader.join().unwrap();
        });
        assert_eq!(poller.queued(key), (0, 0));
    }
}

#[test]
fn what_had_not_begun_comes_back_with_the_connection() {
    let options = Options::new().credit(64 << 10);
    for (mut listener, _place) in listeners(&options) {
        let mut poller = Poller::new().unwrap();
        let _near = options.connect(&listener.address()).unwrap();
        let key = poller.add(listener.accept_for(PATIENCE).unwrap()).unwrap();
        let mut queued = Vec::new();
        for at in 0..10 {
            let message = bytes(50_000, at);
            if poller.send(key, &message).unwrap() == Sent::Queued {
                queued.push(message);
            }
        }
        assert!(!queued.is_empty());
        let removed = poller.remove(key).unwrap();
        assert!(removed.unsent == queued);
        assert!(poller.remove(key).is_none() && poller.get_mut(key).is_none());
    }
}

/// A message that the peer never takes was found out only when it was its turn.
#[test]
fn a_queued_message_that_cannot_go_is_reported_and_the_rest_goes() {
    let small = Options::new().max_message(10_000);
    for (listener, _place) in listeners(&small) {
        let mut listener = listener;
        let mut poller = Poller::new().unwrap();
        // The peer's hello comes when it accepts.
        let near = numpush::connect(&listener.address()).unwrap();
        let key = poller.add(near).unwrap();
        assert_eq!(poller.send(key, &bytes(20_000, 1)).unwrap(), Sent::Queued);
        assert_eq!(poller.send(key, &bytes(1000, 2)).unwrap(), Sent::Queued);
        let mut far = listener.accept_for(PATIENCE).unwrap();
        let Event::Unsent { message, error, .. } = next(&mut poller) else {
            panic!("no event");
        };
        assert!(message == bytes(20_000, 1));
        assert!(matches!(error, Error::TooLarge { .. }));
        eventually("the queue is empty", || {
            assert!(poller.wait(Duration::ZERO).unwrap().is_none());
            poller.queued(key).0 == 0
        });
        assert!(far.recv().unwrap().message == bytes(1000, 2));
    }
}

#[test]
fn a_peer_that_closes_its_direction_still_gets_answers() {
    for (mut listener, _place) in listeners_of(&["tcp", "unix", "inproc"], &Options::new()) {
        let mut poller = Poller::new().unwrap();
        let (mut near, key) = join(&mut poller, &mut listener);
        near.send(&bytes(10, 1)).unwrap();
        std::thread::scope(|scope| {
            let near = &mut near;
            let closing = scope.spawn(move || near.close_sending().unwrap());
            assert!(matches!(next(&mut poller), Event::Message { .. }));
            assert!(matches!(next(&mut poller), Event::Closed { .. }));
            closing.join().unwrap();
        });
        for at in 0..200 {
            poller
                .send_tagged(key, &bytes(10, at), Tag::default())
                .unwrap();
        }
        for at in 0..200 {
            assert!(near.recv().unwrap().message == bytes(10, at));
        }
        drop(near);
        let Event::Ended { error: None, .. } = next(&mut poller) else {
            panic!("no end");
        };
    }
}

#[test]
fn a_transport_without_a_descriptor_is_named() {
    let place = TempPath::new("poller");
    let near = numpush::connect(&format!("file:{}.np", place.0.display())).unwrap();
    let error = Poller::new().unwrap().add(near).unwrap_err();
    assert!(error.to_string().starts_with("file cannot wait"), "{error}");
}

/// `send` reads what the peer has sent, and no descriptor reports that again.
#[test]
fn what_a_send_has_read_is_not_waited_for() {
    for (mut listener, _place) in listeners(&Options::new()) {
        let mut poller = Poller::new().unwrap();
        let (mut near, key) = join(&mut poller, &mut listener);
        for round in 0..300_u32 {
            let text = Message::new(Buffer::copy_of(&round.to_le_bytes()));
            near.send(&text).unwrap();
            poller.send(key, &text).unwrap();
            let Event::Message { received, .. } = next(&mut poller) else {
                panic!("no message");
            };
            assert!(received.message == text);
        }
    }
}

/// Threads of one process in the same loop as sockets.
#[test]
fn a_connection_in_process_is_served_like_the_others() {
    let listener = numpush::listen("inproc:in the poller").unwrap();
    let mut poller = Poller::new().unwrap();
    let mut listener = listener;
    let mut near = numpush::connect(&listener.address()).unwrap();
    near.set_timeouts(Some(PATIENCE), Some(PATIENCE));
    let far = poller.add(listener.accept().unwrap()).unwrap();
    for at in 0..50 {
        near.send(&bytes(100, at)).unwrap();
        let Event::Message { key, received } = next(&mut poller) else {
            panic!("no message");
        };
        assert!(key == far && received.message == bytes(100, at));
        poller.send(key, &received.message).unwrap();
        assert!(near.recv().unwrap().message == bytes(100, at));
    }
    drop(near);
    let mut event = next(&mut poller);
    if matches!(event, Event::Closed { .. }) {
        event = next(&mut poller);
    }
    assert!(
        matches!(event, Event::Ended { error: None, .. }),
        "{event:?}"
    );
}
