//! Many senders to one receiver, and one sender to many receivers.

use std::collections::HashMap;
use std::io::Write;
use std::net::TcpStream;
use std::ops::ControlFlow;

use numpush::poller::{Event, Key, Sent};
use numpush::transfer::{Switch, TransferPath};
use numpush::{Buffer, Connection, Error, Group, Message, Options, Poller};
use numpush_tests::{PATIENCE, TempPath, bytes};

use crate::{listeners, next};

fn number(value: u32) -> Message<'static> {
    Message::new(Buffer::copy_of(&value.to_le_bytes()))
}

fn read(message: &Message<'_>) -> u32 {
    let bytes = message.as_bytes().unwrap();
    u32::from_le_bytes(bytes[..].try_into().unwrap())
}

const CLIENTS: usize = 20;
const QUESTIONS: u32 = 50;

/// Requests of each connection come in order and their answers go back to it, whatever strangers do meanwhile.
#[test]
fn who_serves_answers_each_in_order_among_strangers() {
    for (listener, _place) in listeners(&Options::new()) {
        let address = listener.address();
        let clients: Vec<_> = (0..CLIENTS)
            .map(|at| {
                let address = address.clone();
                std::thread::spawn(move || {
                    if let Some(host) = address.strip_prefix("tcp://")
                        && at % 4 == 0
                    {
                        let mut stranger = TcpStream::connect(host).unwrap();
                        stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
                    }
                    let mut link = numpush::connect(&address).unwrap();
                    link.set_timeouts(Some(PATIENCE), Some(PATIENCE));
                    for value in 0..QUESTIONS {
                        let id = link.send(&number(value)).unwrap().id;
                        let answer = link.recv().unwrap();
                        assert_eq!((read(&answer.message), answer.reply_to), (value + 1, id));
                    }
                    // Half of them go without a word.
                    if at % 2 == 0 {
                        link.close().unwrap();
                    }
                })
            })
            .collect();
        let mut seen: HashMap<Key, u32> = HashMap::new();
        let mut left = CLIENTS * QUESTIONS as usize;
        listener
            .serve(|request| {
                let value = read(&request.received.message);
                let expected = seen.entry(request.key).or_default();
                assert_eq!(value, *expected, "in order for each connection");
                *expected += 1;
                request.reply(&number(value + 1)).unwrap();
                left -= 1;
                if left == 0 {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            })
            .unwrap();
        assert_eq!(seen.len(), CLIENTS);
        for client in clients {
            client.join().unwrap();
        }
    }
}

#[test]
fn a_listener_in_a_poller_names_who_came_and_who_was_refused() {
    let listener = numpush::listen("tcp://127.0.0.1:0").unwrap();
    let address = listener.address();
    let mut poller = Poller::new().unwrap();
    let at = poller.add_listener(listener).unwrap();
    let mut stranger = TcpStream::connect(address.strip_prefix("tcp://").unwrap()).unwrap();
    stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let Event::Rejected { listener, error } = next(&mut poller) else {
        panic!("not refused");
    };
    assert!(listener == at && matches!(error, Error::Handshake { .. }));
    let mut near = numpush::connect(&address).unwrap();
    let Event::Connected { key, listener } = next(&mut poller) else {
        panic!("not connected");
    };
    assert_eq!(listener, at);
    near.send(&number(7)).unwrap();
    assert!(matches!(next(&mut poller), Event::Message { key: from, .. } if from == key));
    assert!(poller.remove_listener(key).is_none());
    let listener = poller.remove_listener(at).unwrap();
    assert_eq!(listener.address(), address);
    assert_eq!(poller.len(), 1);
}

/// A receiver that takes nothing has its own queue, and its own outcome.
#[test]
fn a_stalled_receiver_of_a_group_holds_up_nobody() {
    let small = Options::new().credit(16 << 10);
    for (mut listener, _place) in listeners(&Options::new()) {
        let mut group = Group::new().unwrap();
        group.set_queue_limit(32 << 10);
        let stalled_peer = small.connect(&listener.address()).unwrap();
        let stalled = group.add(listener.accept_for(PATIENCE).unwrap()).unwrap();
        let gone = numpush::connect(&listener.address()).unwrap();
        group.add(listener.accept_for(PATIENCE).unwrap()).unwrap();
        drop(gone);
        let mut receivers = Vec::new();
        for _ in 0..3 {
            let mut link = numpush::connect(&listener.address()).unwrap();
            link.set_timeouts(Some(PATIENCE), Some(PATIENCE));
            receivers.push(link);
            group.add(listener.accept_for(PATIENCE).unwrap()).unwrap();
        }
        let mut was_full = false;
        for at in 0..100 {
            let message = bytes(1000, at);
            for outcome in group.send(&message) {
                match outcome.result {
                    Ok(Sent::Begun(_)) => {}
                    Ok(_) => assert_eq!(outcome.key, stalled),
                    Err(Error::QueueFull { .. }) => {
                        assert_eq!(outcome.key, stalled);
                        was_full = true;
                    }
                    // The one that is gone.
                    Err(Error::Disconnected { .. } | Error::UnknownKey { .. }) => {}
                    Err(error) => panic!("{error:?}"),
                }
            }
            for receiver in &mut receivers {
                assert!(receiver.recv().unwrap().message == message);
            }
        }
        assert!(was_full);
        let event = group.wait(PATIENCE).unwrap().unwrap();
        assert!(matches!(event, Event::Ended { .. }), "{event:?}");
        assert_eq!(group.poller().len(), 4);
        drop(stalled_peer);
    }
}

/// It was copied for each: eight times.
#[test]
fn a_group_copies_once_for_all_unix_receivers() {
    let place = TempPath::new("copies");
    let mut listener = numpush::listen(&format!("unix:{}", place.0.display())).unwrap();
    let mut group = Group::new().unwrap();
    let mut receivers: Vec<_> = (0..8)
        .map(|_| {
            let mut link = numpush::connect(&listener.address()).unwrap();
            link.set_timeouts(Some(PATIENCE), Some(PATIENCE));
            group.add(listener.accept_for(PATIENCE).unwrap()).unwrap();
            link
        })
        .collect();
    for round in 0..20 {
        let message = bytes(1 << 20, round);
        let outcomes = group.send(&message);
        let copied = outcomes.into_iter().map(|outcome| match outcome.result {
            Ok(Sent::Begun(transfer)) => {
                assert_eq!(transfer.path, TransferPath::Reference);
                transfer.copied
            }
            other => panic!("{other:?}"),
        });
        assert_eq!(copied.sum::<u64>(), message.payload_len());
        for receiver in &mut receivers {
            let received = receiver.recv().unwrap();
            assert_eq!(received.transfer.copied, 0);
            assert!(received.message == message);
        }
    }
}

/// The shared copy was made all the same, and then written to each.
#[test]
fn a_group_makes_no_copy_that_nobody_maps() {
    let place = TempPath::new("summed");
    let options = Options::new().checksums(Switch::On);
    let mut listener = options
        .listen(&format!("unix:{}", place.0.display()))
        .unwrap();
    let mut group = Group::new().unwrap();
    let message = bytes(100_000, 1);
    let receivers: Vec<_> = (0..3)
        .map(|_| {
            let link = numpush::connect(&listener.address()).unwrap();
            group.add(listener.accept_for(PATIENCE).unwrap()).unwrap();
            receive(link, vec![message.clone()])
        })
        .collect();
    for outcome in group.send(&message) {
        match outcome.result {
            Ok(Sent::Begun(transfer)) => {
                assert_eq!((transfer.path, transfer.copied), (TransferPath::Write, 0));
            }
            Ok(_) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
    see_off(&mut group);
    receivers.into_iter().for_each(|one| one.join().unwrap());
}

/// One header and one sum for receivers over both transports, with checksums and without; each record has its own number.
#[test]
fn receivers_of_every_kind_get_what_was_prepared_once() {
    let place = TempPath::new("kinds");
    let unix = format!("unix:{}", place.0.display());
    let kinds = [Switch::Off, Switch::On];
    let mut group = Group::new().unwrap();
    let mut receivers = Vec::new();
    let messages: Vec<_> = [0, 5, 100_000, (1 << 20) - 64, 5 << 19]
        .map(|len| bytes(len, 7).with_attribute("unit", "metre"))
        .into();
    for endpoint in ["tcp://127.0.0.1:0", &unix] {
        let mut listener = numpush::listen(endpoint).unwrap();
        for at in 0..8 {
            let options = Options::new().checksums(kinds[at % 2]);
            let link = options.connect(&listener.address()).unwrap();
            let mut link_here = listener.accept_for(PATIENCE).unwrap();
            // Their numbers differ, and so does what the sums are bound to.
            for _ in 0..at {
                link_here.send(&messages[1]).unwrap();
            }
            group.add(link_here).unwrap();
            let expected = vec![messages[1].clone(); at];
            let expected = expected.into_iter().chain(messages.clone()).collect();
            receivers.push(receive(link, expected));
        }
    }
    for message in &messages {
        for outcome in group.send(message) {
            outcome.result.unwrap();
        }
    }
    see_off(&mut group);
    receivers.into_iter().for_each(|one| one.join().unwrap());
}

/// Receives these messages in a thread of its own, and goes.
fn receive(mut link: Connection, expected: Vec<Message<'static>>) -> std::thread::JoinHandle<()> {
    link.set_timeouts(Some(PATIENCE), Some(PATIENCE));
    std::thread::spawn(move || {
        for message in expected {
            assert!(link.recv().unwrap().message == message);
        }
    })
}

/// Sends what waits, until all receivers have gone.
fn see_off(group: &mut Group) {
    while !group.poller().is_empty() {
        group.wait(PATIENCE).unwrap().expect("a receiver goes");
    }
}
