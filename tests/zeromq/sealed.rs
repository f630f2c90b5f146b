//! Sockets of every kind under CURVE: what is sealed comes out as it went in, or not at all.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use numpush::keys::{Curve, SecretKey};
use numpush::shm::Arena;
use numpush::zmq::{Kind, Socket};
use numpush::{Buffer, Error, Options};
use numpush_tests::{bytes, eventually, python_with};

use crate::foreign::puppet;
use crate::kinds::{frames, message, options};
use crate::secured::{key, only};

/// Options of two sides that know each other, a client and a server, and the keys.
struct Two {
    client: Options,
    server: Options,
    keys: [SecretKey; 2],
}

fn two() -> Two {
    let keys = [(); 2].map(|()| key());
    let [there, here] = keys.clone();
    let allowed = only(&there);
    Two {
        client: options().curve(Curve::client(there, here.public())),
        server: options().curve(Curve::server(here, allowed)),
        keys,
    }
}

/// One socket that listens, the server of CURVE, one that has connected, and where.
fn joined(two: &Two, listens: Kind, connects: Kind) -> ([Socket; 2], String) {
    let mut bound = Socket::new(listens, &two.server).unwrap();
    let address = bound.bind("zmq+tcp://127.0.0.1:0").unwrap();
    let connected = connected(two, connects, &address);
    ([bound, connected], address)
}

fn connected(two: &Two, kind: Kind, address: &str) -> Socket {
    let mut socket = Socket::new(kind, &two.client).unwrap();
    if kind == Kind::Dealer {
        socket.set_identity(b"us").unwrap();
    }
    socket.connect(address).unwrap();
    socket
        .wait_for_peers(usize::from(!kind.publishes()))
        .unwrap();
    socket
}

/// Frames of other programs, as short as they come and longer than what is read ahead.
fn foreign() -> Vec<Vec<Vec<u8>>> {
    let frame = |len: usize| -> Vec<u8> { (0..=250).cycle().take(len).collect() };
    let around = |len: usize| [len - 34, len - 33, len - 32, len - 1, len, len + 1];
    let mut messages = vec![
        vec![vec![]],
        vec![frame(3), vec![], frame(1 << 20), frame(5)],
        vec![frame(70_000), frame(70_000)],
        vec![frame(20), frame(9 << 20), vec![]],
        vec![frame(9 << 20), frame(100_000)],
    ];
    for len in [255, 4 << 10, 16 << 10, 64 << 10] {
        messages.extend(around(len).map(|len| vec![frame(len)]));
        messages.extend(around(len).map(|len| vec![frame(1), frame(len), frame(len)]));
    }
    messages
}

#[test]
fn a_router_and_its_dealer_exchange_all_lengths() {
    let two = two();
    let ([mut router, mut dealer], _) = joined(&two, Kind::Router, Kind::Dealer);
    for len in [0, 1, 100, 4 << 10, (4 << 10) + 1, 70_000, 3 << 20, 17] {
        let sent = dealer.send(&bytes(len, 1)).unwrap();
        assert!(sent.copied >= len as u64, "sealing copies: {}", sent.copied);
        let received = router.recv().unwrap();
        assert_eq!(received.envelope, [b"us"]);
        assert!(message(received) == bytes(len, 1));
        router.send_with(&[b"us"], &bytes(len, 2)).unwrap();
        let received = dealer.recv().unwrap();
        if len == 3 << 20 {
            assert_eq!(received.transfer.copied, 0, "it is opened where it lies");
        }
        assert!(message(received) == bytes(len, 2));
    }
    let peer = router.peers().remove(0);
    assert_eq!(peer.user, Some(two.keys[0].public().to_string()));
}

#[test]
fn frames_of_other_programs_come_as_they_are() {
    let ([mut router, mut dealer], _) = joined(&two(), Kind::Router, Kind::Dealer);
    for sent in foreign() {
        let all: Vec<Buffer<'_>> = sent.iter().map(|frame| Buffer::borrowed(frame)).collect();
        let came = thread::scope(|scope| {
            scope.spawn(|| dealer.send_frames(&all).unwrap());
            let mut received = router.recv().unwrap();
            assert_eq!(received.envelope[0], b"us");
            let mut came = received.envelope.split_off(1);
            came.extend(frames(received));
            came
        });
        assert!(came == sent);
        // Between our own messages.
        router.send_with(&[b"us"], &bytes(10, 1)).unwrap();
        assert!(message(dealer.recv().unwrap()) == bytes(10, 1));
    }
}

#[test]
fn libzmq_exchanges_frames_of_all_lengths() {
    let Some(python) = python_with("zmq") else {
        return;
    };
    let [there, here] = two().keys;
    let keys = format!("curve={},{}", there.to_z85().as_str(), here.public());
    let options = options().curve(Curve::server(here, only(&there)));
    let mut ours = Socket::new(Kind::Rep, &options).unwrap();
    let address = ours.bind("zmq+tcp://127.0.0.1:0").unwrap();
    let steps = [
        keys.as_str(),
        "send=[b'q']",
        "recv=[b'x' * 100_000, b'', b'a']",
        "send=[b'y' * 16_384, b'z' * 9_000_000]",
        "recv=[b'']",
    ];
    let mut theirs = puppet(&python, "REQ", "connect", &address, &steps);
    theirs.hears("at");
    assert_eq!(frames(ours.recv().unwrap()), [b"q"]);
    let long = vec![b'x'; 100_000];
    let answer = [
        Buffer::borrowed(&long),
        Buffer::default(),
        Buffer::borrowed(b"a"),
    ];
    ours.send_frames(&answer).unwrap();
    let came = frames(ours.recv().unwrap());
    assert!(came == [vec![b'y'; 16_384], vec![b'z'; 9_000_000]]);
    ours.send_frames(&[Buffer::default()]).unwrap();
    theirs.hears("done");
    theirs.nod();
}

/// Short messages wait together, and are sealed one by one when they are written.
#[test]
fn a_stream_of_short_messages_keeps_its_order() {
    let ([mut pull, mut push], _) = joined(&two(), Kind::Pull, Kind::Push);
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..20_000_u32 {
                let len = if number % 1000 == 0 { 100_000 } else { 8 };
                push.send(&bytes(len, (number % 251) as u8)).unwrap();
            }
        });
        for number in 0..20_000_u32 {
            let len = if number % 1000 == 0 { 100_000 } else { 8 };
            assert!(
                message(pull.recv().unwrap()) == bytes(len, (number % 251) as u8),
                "{number}"
            );
        }
    });
}

/// Messages that waited for a peer that went, some of them sealed for it, go to another in their order.
#[test]
fn short_messages_of_a_peer_that_is_gone_are_sealed_anew() {
    let two = two();
    let ([mut push, first], address) = joined(&two, Kind::Push, Kind::Pull);
    push.set_timeouts(Some(Duration::ZERO), None);
    let numbered = |number: u32| {
        let mut frame = Vec::from(number.to_le_bytes());
        frame.resize(2000, 7);
        frame
    };
    let mut sent = 0;
    // Until neither the kernel nor the queue takes more.
    while push
        .send_frames(&[Buffer::borrowed(&numbered(sent))])
        .is_ok()
    {
        sent += 1;
    }
    drop(first);
    let mut second = connected(&two, Kind::Pull, &address);
    let mut last = None;
    while last != Some(sent - 1) {
        let came = frames(second.recv().unwrap()).remove(0);
        let number = u32::from_le_bytes(*came.first_chunk().unwrap());
        assert!(
            last.is_none_or(|last| number == last + 1),
            "{last:?}, {number}"
        );
        assert!(came == numbered(number));
        last = Some(number);
    }
}

#[test]
fn subscriptions_and_what_is_published_are_sealed() {
    let two = two();
    let ([mut publisher, mut subscriber], address) = joined(&two, Kind::XPub, Kind::Sub);
    let mut other = connected(&two, Kind::XSub, &address);
    subscriber.subscribe(b"a").unwrap();
    other.subscribe(b"b").unwrap();
    publisher.wait_for_peers(2).unwrap();
    for (topic, len) in [(b"a", 10), (b"b", 10), (b"a", 100_000), (b"b", 1 << 20)] {
        let sent = publisher.send_with(&[topic], &bytes(len, 1)).unwrap();
        let copies = if len > 4 << 10 { 1 } else { 2 };
        assert_eq!(sent.copied, copies * len as u64, "one subscriber wants it");
    }
    for (socket, lens) in [
        (&mut subscriber, [10, 100_000]),
        (&mut other, [10, 1 << 20]),
    ] {
        for len in lens {
            assert!(message(socket.recv().unwrap()) == bytes(len, 1));
        }
    }
}

/// Passes on what two sides say, but that it changes a bit of the byte at this place of what the first one says, once.
fn changer(to: &str, at: usize) -> (String, thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("zmq+tcp://{}", listener.local_addr().unwrap());
    let to = to.replace("zmq+tcp://", "");
    let changes = thread::spawn(move || {
        let mut asks = listener.accept().unwrap().0;
        let mut answers = TcpStream::connect(to).unwrap();
        let mut back = [answers.try_clone().unwrap(), asks.try_clone().unwrap()];
        let back = thread::spawn(move || {
            let [from, to] = &mut back;
            let _ = io::copy(from, to);
            let _ = to.shutdown(Shutdown::Both);
        });
        let (mut piece, mut passed) = ([0; 4096], 0);
        while let Ok(count @ 1..) = asks.read(&mut piece) {
            if let Some(byte) = at
                .checked_sub(passed)
                .and_then(|at| piece[..count].get_mut(at))
            {
                *byte ^= 1;
            }
            passed += count;
            if answers.write_all(&piece[..count]).is_err() {
                break;
            }
        }
        let _ = answers.shutdown(Shutdown::Both);
        back.join().unwrap();
    });
    (address, changes)
}

/// Not a byte of a payload that was changed on the way is ever shown, where it lands itself included.
#[test]
fn a_large_message_that_was_changed_ends_its_peer() {
    let arena = Arena::new(64 << 20);
    let mut two = two();
    two.server = two.server.allocator(arena.clone());
    for at in [5000, 70_000, 1 << 20] {
        let mut pull = Socket::new(Kind::Pull, &two.server).unwrap();
        let address = pull.bind("zmq+tcp://127.0.0.1:0").unwrap();
        let (between, changes) = changer(&address, at);
        let mut push = connected(&two, Kind::Push, &between);
        push.send(&bytes(2 << 20, 1)).unwrap();
        pull.set_timeouts(None, Some(Duration::ZERO));
        let mut refused = None;
        eventually("a refusal", || {
            assert!(matches!(pull.recv(), Err(Error::Timeout { .. })));
            refused = pull.take_refused();
            refused.is_some()
        });
        let said = format!("{:?}", refused.unwrap());
        assert!(said.contains("cannot be opened"), "{said}");
        drop(push);
        changes.join().unwrap();
        eventually("its room", || arena.usage().used == 0);
    }
}

/// A message that finds no room stays where it is until there is some.
#[test]
fn a_sealed_message_waits_for_room() {
    let arena = Arena::new(4 << 20);
    let mut two = two();
    two.server = two.server.allocator(arena);
    let ([mut pull, mut push], _) = joined(&two, Kind::Pull, Kind::Push);
    thread::scope(|scope| {
        scope.spawn(|| {
            for (seed, len) in [(1, 3 << 20), (2, 3 << 20), (3, 10)] {
                push.send(&bytes(len, seed)).unwrap();
            }
            push.close().unwrap();
        });
        let first = message(pull.recv().unwrap());
        let refused = pull.recv().unwrap_err();
        assert!(matches!(refused, Error::NoRoom { .. }), "{refused:?}");
        assert!(first == bytes(3 << 20, 1));
        drop(first);
        assert!(message(pull.recv().unwrap()) == bytes(3 << 20, 2));
        assert!(message(pull.recv().unwrap()) == bytes(10, 3));
    });
}

/// Two messages with one number tell both. The child has the same keys and numbers as its parent.
#[test]
fn a_forked_child_seals_nothing() {
    let ([mut pull, mut push], _) = joined(&two(), Kind::Pull, Kind::Push);
    push.send(&bytes(10, 1)).unwrap();
    let child = numpush_tests::Forked::start(|| {
        let refused = push.send(&bytes(10, 2));
        matches!(refused, Err(Error::Forked { .. }))
    });
    assert_eq!(child.exit_code(), Some(0));
    push.send(&bytes(10, 3)).unwrap();
    for seed in [1, 3] {
        assert!(message(pull.recv().unwrap()) == bytes(10, seed));
    }
}
