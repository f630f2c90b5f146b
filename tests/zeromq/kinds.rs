//! Sockets of every kind, with each other.

use std::thread;
use std::time::Duration;

use numpush::shm::Arena;
use numpush::zmq::{Content, Kind, Multipart, Socket};
use numpush::{Buffer, Error, Message, Options};
use numpush_tests::{PATIENCE, TempPath, bytes, eventually};

pub(crate) fn options() -> Options {
    Options::new()
        .send_timeout(PATIENCE)
        .recv_timeout(PATIENCE)
        .connect_timeout(PATIENCE)
}

pub(crate) fn socket(kind: Kind) -> Socket {
    Socket::new(kind, &options()).unwrap()
}

pub(crate) fn bound(kind: Kind) -> (Socket, String) {
    let mut socket = socket(kind);
    let address = socket.bind("zmq+tcp://127.0.0.1:0").unwrap();
    (socket, address)
}

pub(crate) fn connected(kind: Kind, address: &str) -> Socket {
    let mut socket = socket(kind);
    socket.connect(address).unwrap();
    socket
        .wait_for_peers(usize::from(!kind.publishes()))
        .unwrap();
    socket
}

pub(crate) fn message(received: Multipart) -> Message<'static> {
    match received.content {
        Content::Message(message) => message,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn frames(received: Multipart) -> Vec<Vec<u8>> {
    match received.content {
        Content::Frames(frames) => frames.iter().map(|frame| Vec::from(&**frame)).collect(),
        other => panic!("{other:?}"),
    }
}

fn len(received: Multipart) -> usize {
    message(received).buffers().map(Buffer::len).sum()
}

fn buffers(frames: &[&'static [u8]]) -> Vec<Buffer<'static>> {
    frames.iter().copied().map(Buffer::borrowed).collect()
}

#[test]
fn a_router_answers_each_of_its_peers_by_name() {
    let (mut router, address) = bound(Kind::Router);
    let mut named = socket(Kind::Dealer);
    named.set_identity(b"one").unwrap();
    named.connect(&address).unwrap();
    let mut nameless = connected(Kind::Dealer, &address);
    for (number, dealer) in (0..).zip([&mut named, &mut nameless]) {
        dealer.send(&bytes(number, 1)).unwrap();
    }
    let mut names = Vec::new();
    for _ in 0..2 {
        let mut received = router.recv().unwrap();
        let name = received.envelope.remove(0);
        let number = len(received);
        assert!(if number == 0 {
            name == b"one"
        } else {
            name[0] == 0
        });
        router
            .send_with(&[&name, b"route"], &bytes(10, u8::from(number > 0)))
            .unwrap();
        router
            .send_frames(&[Buffer::from(name.clone()), Buffer::borrowed(b"raw")])
            .unwrap();
        names.push(name);
    }
    for (number, dealer) in (0..).zip([&mut named, &mut nameless]) {
        let received = dealer.recv().unwrap();
        assert_eq!(received.envelope, [b"route"]);
        assert_eq!(message(received), bytes(10, number));
        assert_eq!(frames(dealer.recv().unwrap()), [b"raw"]);
    }
    let error = router.send_with(&[b"two"], &bytes(1, 1)).unwrap_err();
    assert!(
        matches!(&error, Error::UnknownPeer { name } if name == "two"),
        "{error:?}"
    );
    assert!(router.send(&bytes(1, 1)).is_err());
    // Its peer is gone some time after it.
    drop(named);
    eventually("the end of a peer", || {
        matches!(
            router.send_with(&[b"one"], &bytes(1, 1)),
            Err(Error::UnknownPeer { .. })
        )
    });
}

#[test]
fn no_two_peers_of_a_router_have_one_name() {
    let (mut router, address) = bound(Kind::Router);
    let mut first = socket(Kind::Dealer);
    first.set_identity(b"one").unwrap();
    first.connect(&address).unwrap();
    router.wait_for_peers(1).unwrap();
    let mut second = socket(Kind::Dealer);
    second.set_identity(b"one").unwrap();
    second.connect(&address).unwrap();
    eventually("a refusal", || router.take_refused().is_some());
    first.send(&bytes(3, 1)).unwrap();
    assert_eq!(router.recv().unwrap().envelope, [b"one"]);
    for wrong in [&b""[..], b"\0a", &[1; 256]] {
        assert!(first.set_identity(wrong).is_err());
    }
    assert!(socket(Kind::Push).set_identity(b"a").is_err());
}

/// The way back of a request goes through as many sockets as there are.
#[test]
fn requests_go_through_a_broker() {
    let (mut front, asked) = bound(Kind::Router);
    let (mut back, served) = bound(Kind::Dealer);
    let mut server = connected(Kind::Rep, &served);
    back.wait_for_peers(1).unwrap();
    let client = thread::spawn(move || {
        let mut client = connected(Kind::Req, &asked);
        client.send(&bytes(100_000, 1)).unwrap();
        assert_eq!(message(client.recv().unwrap()), bytes(100_000, 2));
        client.send_frames(&buffers(&[b"a", b"", b"b"])).unwrap();
        assert_eq!(frames(client.recv().unwrap()), [&b"c"[..], b""]);
    });
    let serving = thread::spawn(move || {
        let received = server.recv().unwrap();
        assert!(received.envelope.is_empty());
        assert_eq!(message(received), bytes(100_000, 1));
        server.send(&bytes(100_000, 2)).unwrap();
        assert_eq!(frames(server.recv().unwrap()), [&b"a"[..], b"", b"b"]);
        server.send_frames(&buffers(&[b"c", b""])).unwrap();
        server.close().unwrap();
    });
    for _ in 0..2 {
        pass(&mut front, &mut back);
        pass(&mut back, &mut front);
    }
    client.join().unwrap();
    serving.join().unwrap();
}

/// Sends the next message that comes as it came.
fn pass(from: &mut Socket, to: &mut Socket) {
    let Multipart {
        envelope, content, ..
    } = from.recv().unwrap();
    let before: Vec<&[u8]> = envelope.iter().map(Vec::as_slice).collect();
    match content {
        Content::Message(message) => to.send_with(&before, &message).unwrap(),
        Content::Frames(frames) => {
            let mut all: Vec<Buffer<'_>> = before.into_iter().map(Buffer::borrowed).collect();
            all.extend(frames);
            to.send_frames(&all).unwrap()
        }
        other => panic!("{other:?}"),
    };
}

#[test]
fn subscriptions_and_messages_go_through_a_forwarder() {
    let (mut publisher, published) = bound(Kind::Pub);
    let mut inner = connected(Kind::XSub, &published);
    let (mut outer, address) = bound(Kind::XPub);
    let mut one = connected(Kind::Sub, &address);
    one.subscribe(b"a").unwrap();
    let mut two = connected(Kind::Sub, &address);
    two.subscribe(b"a").unwrap();
    two.subscribe(b"b").unwrap();
    outer.wait_for_peers(2).unwrap();
    let mut told = Vec::new();
    for _ in 0..2 {
        let said = frames(outer.recv().unwrap()).remove(0);
        inner.send_frames(&[Buffer::from(said.clone())]).unwrap();
        told.push(said);
    }
    told.sort();
    assert_eq!(told, [b"\x01a", b"\x01b"]);
    eventually("both subscriptions", || {
        publisher.peers().iter().any(|peer| peer.topics == 2)
    });
    for topic in [&b"c"[..], b"b", b"a1"] {
        publisher
            .send_with(&[topic], &bytes(1000, topic[0]))
            .unwrap();
    }
    for _ in 0..2 {
        pass(&mut inner, &mut outer);
    }
    assert_eq!(two.recv().unwrap().envelope, [b"b"]);
    for subscriber in [&mut one, &mut two] {
        let received = subscriber.recv().unwrap();
        assert_eq!(received.envelope, [b"a1"]);
        assert_eq!(message(received), bytes(1000, b'a'));
    }
    // Both want it, and the last to go is told of.
    drop(one);
    two.unsubscribe(b"a").unwrap();
    assert_eq!(frames(outer.recv().unwrap()), [b"\0a"]);
    assert!(inner.send(&bytes(1, 1)).is_err());
    assert!(inner.send_frames(&buffers(&[b"\x02a"])).is_err());
}

#[test]
fn a_subscriber_gets_what_it_wants_at_that_time() {
    let (mut publisher, address) = bound(Kind::Pub);
    let mut subscriber = socket(Kind::Sub);
    subscriber.connect(&address).unwrap();
    for (step, topic) in [&b"x"[..], b"y"].into_iter().enumerate() {
        subscriber.subscribe(topic).unwrap();
        eventually("the subscription", || {
            publisher.peers().first().is_some_and(|it| it.topics == 1)
        });
        for sent in [&b"y"[..], b"x"] {
            publisher.send_with(&[sent], &bytes(step, 1)).unwrap();
        }
        let received = subscriber.recv().unwrap();
        assert_eq!(received.envelope, [topic]);
        assert_eq!(len(received), step);
        subscriber.unsubscribe(topic).unwrap();
        eventually("its end", || publisher.peers()[0].topics == 0);
    }
    assert!(publisher.subscribe(b"x").is_err() && publisher.recv().is_err());
    assert!(subscriber.subscribe(&[0; 5000]).is_err() && subscriber.send(&bytes(1, 1)).is_err());
}

#[test]
fn a_pair_has_one_peer() {
    let (mut pair, address) = bound(Kind::Pair);
    let mut first = connected(Kind::Pair, &address);
    pair.wait_for_peers(1).unwrap();
    let mut second = socket(Kind::Pair);
    second.connect(&address).unwrap();
    eventually("a refusal", || pair.take_refused().is_some());
    assert_eq!(pair.status().peers, 1);
    pair.send(&bytes(10, 1)).unwrap();
    first.send(&bytes(10, 2)).unwrap();
    assert_eq!(message(first.recv().unwrap()), bytes(10, 1));
    assert_eq!(message(pair.recv().unwrap()), bytes(10, 2));
    // Its place is free again.
    drop(first);
    second.wait_for_peers(1).unwrap();
    eventually("the second", || {
        second.send(&bytes(10, 3)).unwrap();
        pair.set_timeouts(None, Some(Duration::from_millis(50)));
        pair.recv()
            .is_ok_and(|received| message(received) == bytes(10, 3))
    });
}

#[test]
fn frames_of_any_size_come_as_they_are() {
    let (mut pull, address) = bound(Kind::Pull);
    let mut push = connected(Kind::Push, &address);
    let sizes = [
        0,
        1,
        255,
        256,
        4095,
        4096,
        4097,
        16_384,
        65_536,
        65_537,
        5 << 20,
    ];
    let frame = |len: usize, seed: u8| Buffer::from(vec![seed; len]);
    let mut sent = vec![vec![frame(0, 0)], vec![frame(0, 0), frame(0, 0)]];
    for one in sizes {
        for (other, seed) in sizes.into_iter().zip(1..) {
            sent.push(vec![frame(one, seed), frame(other, seed + 1), frame(3, 7)]);
        }
    }
    // More frames than an envelope has.
    sent.push((0..1024).map(|len| frame(len, 9)).collect());
    let expected = sent.clone();
    let sender = thread::spawn(move || {
        for (at, frames) in sent.iter().enumerate() {
            push.send_frames(frames).unwrap();
            // One of ours between them.
            push.send_with(&[b"topic"], &bytes(at, 1)).unwrap();
        }
        push.close().unwrap();
    });
    for (at, expected) in expected.iter().enumerate() {
        let received = pull.recv().unwrap();
        let total: usize = expected.iter().map(|frame| frame.len()).sum();
        assert_eq!(received.transfer.bytes, total as u64);
        let largest = expected.iter().map(|frame| frame.len()).max().unwrap();
        // What is large is read to where it stays, but for what comes with what is before it.
        assert!(largest < 1 << 20 || received.transfer.copied < total as u64 / 2);
        let Content::Frames(frames) = received.content else {
            panic!("{at}");
        };
        assert!(frames == *expected, "{at}");
        let received = pull.recv().unwrap();
        assert_eq!(received.envelope, [b"topic"]);
        assert_eq!(message(received), bytes(at, 1));
    }
    sender.join().unwrap();
}

#[test]
fn frames_over_the_limit_are_skipped_and_lie_in_the_allocator() {
    let arena = Arena::new(8 << 20);
    let small = options().max_message(1 << 20).allocator(arena.clone());
    let mut pull = Socket::new(Kind::Pull, &small).unwrap();
    let address = pull.bind("zmq+tcp://127.0.0.1:0").unwrap();
    let mut push = connected(Kind::Push, &address);
    let frame = |len: usize| Buffer::from(vec![1; len]);
    push.send_frames(&[frame(10), frame(100_000)]).unwrap();
    let received = pull.recv().unwrap();
    assert!(arena.usage().used >= 100_010);
    drop(received);
    for wrong in [vec![frame(10), frame(1 << 20)], vec![frame(1); 1025]] {
        push.send_frames(&wrong).unwrap();
        push.send(&bytes(5, 1)).unwrap();
        let error = pull.recv().unwrap_err();
        assert!(matches!(error, Error::Skipped { .. }), "{error:?}");
        assert_eq!(message(pull.recv().unwrap()), bytes(5, 1));
    }
    assert_eq!(arena.usage().used, 0);
    let none: [Buffer<'_>; 0] = [];
    assert!(push.send_frames(&none).is_err());
}

#[test]
fn a_socket_has_many_endpoints() {
    let place = TempPath::new("endpoints");
    let mut pull = socket(Kind::Pull);
    let tcp = pull.bind("zmq+tcp://127.0.0.1:0").unwrap();
    let ipc = pull
        .bind(&format!("zmq+ipc://{}", place.0.display()))
        .unwrap();
    let (mut other, third) = bound(Kind::Pull);
    let mut push = socket(Kind::Push);
    for address in [&tcp, &ipc, &third] {
        push.connect(address).unwrap();
    }
    push.wait_for_peers(3).unwrap();
    for number in 0..9 {
        push.send(&bytes(number, 1)).unwrap();
    }
    let mut numbers: Vec<_> = (0..6).map(|_| len(pull.recv().unwrap())).collect();
    numbers.extend((0..3).map(|_| len(other.recv().unwrap())));
    numbers.sort_unstable();
    assert_eq!(numbers, (0..9).collect::<Vec<_>>());
    // One that is ended gets no more, and is not connected to again.
    push.unbind(&third).unwrap();
    assert!(push.unbind(&third).is_err());
    pull.unbind(&ipc).unwrap();
    assert!(!place.0.exists());
    for number in 0..9 {
        push.send(&bytes(number, 1)).unwrap();
    }
    for _ in 0..9 {
        pull.recv().unwrap();
    }
    for wrong in [
        "tcp://127.0.0.1:0",
        "zmq+tcp://127.0.0.1:0?max=3",
        "zmq+tcp://0.0.0.0:0",
    ] {
        let error = push.bind(wrong).unwrap_err();
        assert!(matches!(error, Error::Endpoint(_)), "{error:?}");
    }
}

#[test]
fn what_a_slow_subscriber_misses_is_counted_and_others_get_all() {
    let small = options().window(1 << 20);
    let mut publisher = Socket::new(Kind::Pub, &small).unwrap();
    let address = publisher.bind("zmq+tcp://127.0.0.1:0").unwrap();
    let mut slow = socket(Kind::Sub);
    slow.subscribe(b"").unwrap();
    slow.connect(&address).unwrap();
    publisher.wait_for_peers(1).unwrap();
    let mut fast = socket(Kind::Sub);
    fast.subscribe(b"").unwrap();
    fast.connect(&address).unwrap();
    publisher.wait_for_peers(2).unwrap();
    let message = bytes(200_000, 1);
    let mut sent = 0;
    // As many as the kernels and the queue hold, and some that neither does.
    while publisher.status().dropped < 10 {
        assert!(sent < 10_000);
        publisher.send(&message).unwrap();
        fast.recv().unwrap();
        sent += 1;
    }
    let mut dropped: Vec<_> = publisher.peers().iter().map(|peer| peer.dropped).collect();
    dropped.sort_unstable();
    assert_eq!(dropped, [0, 10]);
    for _ in 0..sent - 10 {
        slow.recv().unwrap();
    }
    slow.set_timeouts(None, Some(Duration::ZERO));
    assert!(slow.recv().unwrap_err().is_timeout());
}
