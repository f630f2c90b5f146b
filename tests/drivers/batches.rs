//! Many messages in one call: all of them, or a count of those that are sent.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use numpush::transfer::{Switch, Tag};
use numpush::wire::Hello;
use numpush::{Buffer, Error, Message, Options};
use numpush_tests::{PATIENCE, bytes};

use crate::{MOMENT, pairs, plain_pairs, sockets};

/// Messages of these lengths, each told from the others by its bytes.
fn many(lens: impl IntoIterator<Item = usize>) -> Vec<Message<'static>> {
    let message = |(at, len)| bytes(len, u8::try_from(at % 251).unwrap());
    lens.into_iter().enumerate().map(message).collect()
}

/// Small ones, empty ones, and large ones that go by themselves.
fn mixed() -> Vec<Message<'static>> {
    many((0..700).map(|at| match at % 100 {
        0 => 0,
        50 => 200_000,
        70 => 63_000,
        at => at,
    }))
}

#[test]
fn messages_of_one_call_arrive_in_order() {
    for checksums in [Switch::Auto, Switch::On] {
        let options = Options::new().checksums(checksums);
        for mut pair in pairs(&options, &options) {
            let messages = mixed();
            let far = &mut pair.far;
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    for (at, message) in messages.iter().enumerate() {
                        let received = far.recv().unwrap();
                        assert_eq!((received.id, received.channel), (at as u64 + 1, 7));
                        assert!(received.message == *message, "message {at}");
                    }
                });
                let tag = Tag {
                    channel: 7,
                    ..Tag::default()
                };
                let batch = pair.near.send_all_tagged(&messages, tag).unwrap();
                assert_eq!((batch.count, batch.last_id), (700, 700));
                let bytes: u64 = messages.iter().map(Message::payload_len).sum();
                assert_eq!(batch.bytes, bytes);
                pair.near.flush().unwrap();
            });
            let none = pair.near.send_all(&[]).unwrap();
            assert_eq!((none.count, none.last_id), (0, 0));
        }
    }
}

#[test]
fn small_messages_of_one_call_share_their_system_calls() {
    for checksums in [Switch::Off, Switch::On] {
        let options = Options::new().checksums(checksums);
        for mut pair in sockets(&options, &options) {
            let batch = pair.near.send_all(&many([64; 100])).unwrap();
            assert_eq!(batch.copied, 0);
            assert!(batch.system_calls < 10, "{batch:?}");
            for message in many([64; 100]) {
                assert!(pair.far.recv().unwrap().message == message);
            }
        }
    }
}

/// Nobody receives: the call ends in the middle of a message, and says how many are sent. They arrive, and no others.
#[test]
fn a_call_that_ends_in_the_middle_says_how_many_are_sent() {
    for mut pair in sockets(&Options::new(), &Options::new()) {
        let len = 60_000;
        let mut memory: Vec<u8> = (0..1200)
            .flat_map(|at| vec![u8::try_from(at % 251).unwrap(); len])
            .collect();
        let messages: Vec<_> = memory
            .chunks(len)
            .map(|chunk| Message::new(Buffer::borrowed(chunk)))
            .collect();
        pair.near.set_timeouts(Some(MOMENT), None);
        let error = pair.near.send_all(&messages).unwrap_err();
        let sent = error.sent.count;
        assert!(sent > 0 && sent < 1200, "{error:?}");
        assert_eq!(error.sent.last_id, sent as u64);
        let cause = Error::from(error);
        let is_known = matches!(cause, Error::Timeout { .. } | Error::Unfinished { .. });
        assert!(is_known && cause.is_recoverable(), "{cause:?}");
        drop(messages);
        // The caller's memory is its own again.
        memory.fill(0);
        pair.near.set_timeouts(Some(PATIENCE), None);
        let mut near = pair.near;
        let sending = std::thread::spawn(move || {
            let batch = near.send_all(&many([10, 11])).unwrap();
            assert_eq!(batch.last_id, sent as u64 + 2);
            near.close().unwrap();
        });
        for at in 0..sent {
            let expected = Message::new(Buffer::from(vec![u8::try_from(at % 251).unwrap(); len]));
            assert!(pair.far.recv().unwrap().message == expected, "message {at}");
        }
        for message in many([10, 11]) {
            assert!(pair.far.recv().unwrap().message == message);
        }
        assert!(pair.far.recv().unwrap_err().is_closed());
        sending.join().unwrap();
    }
}

/// The rest of a large message was copied to keep it, and nobody counted that.
#[test]
fn what_is_copied_to_keep_a_rest_is_counted() {
    // With checksums a message over unix is written too.
    let options = Options::new().checksums(Switch::On);
    for mut pair in sockets(&options, &options) {
        let memory = vec![7; 48 << 20];
        let large = || Message::new(Buffer::borrowed(&memory));
        // Afterwards nothing has to be waited for before a message begins.
        pair.near.send_all(&many([10])).unwrap();
        pair.far.recv().unwrap();
        pair.near.flush().unwrap();
        pair.near.set_timeouts(Some(MOMENT), None);
        let error = pair.near.send_all(&[large(), large()]).unwrap_err();
        assert_eq!((error.sent.count, error.sent.last_id), (1, 2));
        let counted = error.sent.copied;
        let Error::Unfinished { copied, .. } = Error::from(error) else {
            panic!("the message is half written");
        };
        // A buffer of which a part has gone is copied whole.
        assert_eq!((counted, copied), (48 << 20, 48 << 20));
        assert!(pair.near.status().unwritten > 0);
    }
}

/// One thread drives both ends, and none of its calls waits.
#[test]
fn calls_that_do_not_wait_move_all_messages() {
    for mut pair in plain_pairs() {
        let messages = many([60_000; 600]);
        let (mut sent, mut received) = (0, 0);
        while received < messages.len() {
            sent += match pair.near.try_send_all(&messages[sent..]) {
                Ok(batch) => batch.count,
                Err(error) => {
                    assert!(error.source.is_timeout(), "{error:?}");
                    error.sent.count
                }
            };
            let polled = pair.near.try_recv().map(drop).unwrap_err();
            assert!(polled.is_timeout(), "{polled:?}");
            while let Ok(message) = pair.far.try_recv() {
                assert!(message.message == messages[received], "message {received}");
                received += 1;
            }
        }
        assert_eq!(sent, messages.len());
    }
}

#[test]
fn messages_of_one_call_keep_to_the_credit_and_the_window() {
    let narrow = Options::new().window(5_000);
    let poor = Options::new().credit(9_000);
    for (near, far) in [(&narrow, &Options::new()), (&Options::new(), &poor)] {
        for mut pair in pairs(near, far) {
            let messages = many([1_000; 30]);
            pair.near.set_timeouts(Some(Duration::ZERO), None);
            let mut received = 0;
            while received < messages.len() {
                let result = pair.near.send_all(&messages[received..]);
                let (sent, error) = match result {
                    Ok(batch) => (batch.count, None),
                    Err(error) => (error.sent.count, Some(error.source)),
                };
                assert!(sent <= 9, "{sent} messages of 1000 bytes");
                assert!(error.is_none_or(|error| error.is_timeout()));
                for message in messages.iter().skip(received).take(sent) {
                    assert!(pair.far.recv().unwrap().message == *message);
                }
                received += sent;
            }
            assert!(pair.far.try_recv().unwrap_err().is_timeout());
        }
    }
}

#[test]
fn a_message_that_cannot_go_ends_the_call_before_it() {
    for mut pair in pairs(&Options::new().max_message(5_000), &Options::new()) {
        let mut messages = many([10, 20, 30, 40]);
        messages[2] = bytes(30, 9).with_attribute("nul\0", "");
        let error = pair.near.send_all(&messages).unwrap_err();
        assert_eq!(error.sent.count, 2);
        assert!(matches!(*error.source, Error::Message(_)), "{error:?}");
        messages[2] = bytes(5_001, 9);
        let error = pair.near.send_all(&messages).unwrap_err();
        assert_eq!(
            error.sent.count, 0,
            "this side's own limit is looked at first"
        );
        assert!(matches!(*error.source, Error::TooLarge { .. }), "{error:?}");
        pair.near.send(&bytes(50, 5)).unwrap();
        for message in [&messages[0], &messages[1], &bytes(50, 5)] {
            assert!(pair.far.recv().unwrap().message == *message);
        }
    }
}

#[test]
fn a_peer_that_is_gone_ends_the_call() {
    for mut pair in plain_pairs() {
        drop(pair.far);
        let messages = many([1_000; 300]);
        let failed = (0..1_000).find_map(|_| pair.near.send_all(&messages).err());
        let error = failed.expect("a peer that is gone takes nothing");
        assert!(error.sent.count < 300);
        assert!(
            matches!(*error.source, Error::Disconnected { .. }),
            "{error:?}"
        );
    }
}

/// While each waits to write it takes in what the other sends, and acknowledges what was taken between two messages.
#[test]
fn both_sides_send_many_at_once() {
    for pair in plain_pairs() {
        let (mut tx, mut rx) = pair.near.split().unwrap();
        let mut far = pair.far;
        let messages = many([20_000; 300]);
        std::thread::scope(|scope| {
            let messages = &messages;
            scope.spawn(move || {
                for part in messages.chunks(37) {
                    tx.send_all(part).unwrap();
                }
                tx.flush().unwrap();
            });
            scope.spawn(move || {
                for message in messages {
                    assert!(rx.recv().unwrap().message == *message);
                }
            });
            for part in messages.chunks(29) {
                far.send_all(part).unwrap();
                let received = part
                    .iter()
                    .map(|message| far.recv().unwrap().message == *message);
                assert!(received.eq(part.iter().map(|_| true)));
            }
            far.flush().unwrap();
        });
    }
}

/// A program that sends again what was not counted would send it twice.
#[test]
fn what_is_half_written_when_the_peer_lies_counts_as_sent() {
    let mut listener = numpush::listen("tcp://127.0.0.1:0").unwrap();
    let mut raw = TcpStream::connect(listener.address().replace("tcp://", "")).unwrap();
    raw.write_all(&Hello::new(1 << 30).encode()).unwrap();
    let mut link = listener.accept_for(PATIENCE).unwrap();
    let sender = std::thread::spawn(move || {
        let messages = [bytes(64 << 20, 1), bytes(10, 2)];
        link.send_all(&messages).unwrap_err()
    });
    // More than a hello: the message has begun.
    let mut begun = [0; 4096];
    raw.read_exact(&mut begun).unwrap();
    raw.write_all(&[0xff; 64]).unwrap();
    let error = sender.join().unwrap();
    assert!(!error.source.is_recoverable(), "{error:?}");
    assert_eq!(error.sent.count, 1, "{error:?}");
}
