//! Sockets of every kind with libzmq, by pyzmq.

use std::process::Command;
use std::thread;

use numpush::Buffer;
use numpush::zmq::{Kind, Socket};
use numpush_tests::{Peer, bytes, eventually, python_with};

use crate::kinds::{frames, message, options, socket};

/// Does what its lines say: a socket of a kind that listens or connects, and what it sends and receives.
const PUPPET: &str = r#"
import sys, zmq
context = zmq.Context()
kind, how, where, *steps = sys.argv[1:]
socket = context.socket(getattr(zmq, kind))
socket.setsockopt(zmq.LINGER, -1)
for step in steps:
    name, _, value = step.partition("=")
    if name == "identity":
        socket.setsockopt(zmq.IDENTITY, value.encode())
    if name == "subscribe":
        socket.setsockopt(zmq.SUBSCRIBE, value.encode())
    if name == "curve":
        secret, server = value.encode().split(b",")
        socket.curve_secretkey, socket.curve_publickey = secret, zmq.curve_public(secret)
        socket.curve_serverkey = server
getattr(socket, how)(where)
print("at:", socket.getsockopt_string(zmq.LAST_ENDPOINT), flush=True)
for step in steps:
    name, _, value = step.partition("=")
    if name == "send":
        socket.send_multipart(eval(value))
    elif name == "recv":
        got = socket.recv_multipart()
        assert got == eval(value), got
    elif name == "echo":
        socket.send_multipart(socket.recv_multipart(copy=False), copy=False)
    elif name == "wait":
        sys.stdin.readline()
print("done: yes", flush=True)
sys.stdin.readline()
"#;

pub(crate) fn puppet(python: &str, kind: &str, how: &str, at: &str, steps: &[&str]) -> Peer {
    let at = at.replace("zmq+", "");
    Peer::start(
        Command::new(python)
            .args(["-c", PUPPET, kind, how, &at])
            .args(steps),
    )
}

/// Our socket and a puppet of the other kind, where either listens.
fn each_way(ours: Kind, theirs: &str, steps: &[&str], mut test: impl FnMut(&mut Socket)) {
    let Some(python) = python_with("zmq") else {
        return;
    };
    let make = || {
        let mut socket = socket(ours);
        if ours == Kind::Dealer {
            socket.set_identity(b"us").unwrap();
        }
        socket
    };
    let mut listening = make();
    let address = listening.bind("zmq+tcp://127.0.0.1:0").unwrap();
    let mut peer = puppet(&python, theirs, "connect", &address, steps);
    peer.hears("at");
    test(&mut listening);
    peer.hears("done");
    peer.nod();
    let mut peer = puppet(&python, theirs, "bind", "tcp://127.0.0.1:*", steps);
    let address = format!("zmq+{}", peer.hears("at"));
    let mut connecting = make();
    connecting.connect(&address).unwrap();
    test(&mut connecting);
    peer.hears("done");
    peer.nod();
}

fn raw(frames: &[&'static [u8]]) -> Vec<Buffer<'static>> {
    frames.iter().copied().map(Buffer::borrowed).collect()
}

#[test]
fn push_and_pull() {
    each_way(Kind::Push, "PULL", &["recv=[b'a', b'', b'b']"], |ours| {
        ours.send_frames(&raw(&[b"a", b"", b"b"])).unwrap();
    });
    let large = "send=[bytes(100_000), b'x' * 70_000]";
    each_way(Kind::Pull, "PUSH", &["send=[b'']", large], |ours| {
        assert_eq!(frames(ours.recv().unwrap()), [b""]);
        let two = frames(ours.recv().unwrap());
        assert!(two == [vec![0; 100_000], vec![b'x'; 70_000]]);
    });
}

#[test]
fn publishers_and_subscribers() {
    for ours in [Kind::Pub, Kind::XPub] {
        for theirs in ["SUB", "XSUB"] {
            let subscribe = match theirs {
                "SUB" => "subscribe=b",
                _ => "send=[b'\\x01b']",
            };
            each_way(ours, theirs, &[subscribe, "recv=[b'b1', b'x']"], |ours| {
                ours.wait_for_peers(1).unwrap();
                if ours.kind() == Kind::XPub {
                    assert_eq!(frames(ours.recv().unwrap()), [b"\x01b"]);
                }
                ours.send_frames(&raw(&[b"a1", b"x"])).unwrap();
                ours.send_frames(&raw(&[b"b1", b"x"])).unwrap();
            });
        }
    }
    for ours in [Kind::Sub, Kind::XSub] {
        // A PUB says nothing of those who have come, so that it waits.
        let steps = [
            "recv=[b'\\x01b']",
            "send=[b'a1', b'x']",
            "send=[b'b1', b'x']",
        ];
        each_way(ours, "XPUB", &steps, |ours| {
            ours.subscribe(b"b").unwrap();
            assert_eq!(frames(ours.recv().unwrap()), [&b"b1"[..], b"x"]);
            ours.unsubscribe(b"b").unwrap();
        });
    }
}

#[test]
fn requests_and_answers() {
    let asks = [
        "send=[b'q']",
        "recv=[b'a', b'b']",
        "send=[b'']",
        "recv=[b'']",
    ];
    each_way(Kind::Rep, "REQ", &asks, |ours| {
        assert_eq!(frames(ours.recv().unwrap()), [b"q"]);
        ours.send_frames(&raw(&[b"a", b"b"])).unwrap();
        assert_eq!(frames(ours.recv().unwrap()), [b""]);
        ours.send_frames(&raw(&[b""])).unwrap();
    });
    each_way(Kind::Req, "REP", &["echo=", "echo="], |ours| {
        ours.send(&bytes(100_000, 1)).unwrap();
        assert_eq!(message(ours.recv().unwrap()), bytes(100_000, 1));
        assert!(ours.recv().is_err());
        ours.send_frames(&raw(&[b"q", b""])).unwrap();
        assert_eq!(frames(ours.recv().unwrap()), [&b"q"[..], b""]);
    });
}

#[test]
fn names_and_the_way_back() {
    let steps = ["identity=me", "send=[b'', b'q']", "recv=[b'', b'a']"];
    each_way(Kind::Router, "DEALER", &steps, |ours| {
        let received = ours.recv().unwrap();
        assert_eq!(received.envelope, [b"me"]);
        assert_eq!(frames(received), [&b""[..], b"q"]);
        ours.send_frames(&raw(&[b"me", b"", b"a"])).unwrap();
    });
    each_way(
        Kind::Router,
        "REQ",
        &["identity=me", "send=[b'q']", "recv=[b'a']"],
        |ours| {
            let received = ours.recv().unwrap();
            assert_eq!(received.envelope, [b"me"]);
            assert_eq!(frames(received), [&b""[..], b"q"]);
            ours.send_frames(&raw(&[b"me", b"", b"a"])).unwrap();
        },
    );
    each_way(
        Kind::Dealer,
        "ROUTER",
        &["recv=[b'us', b'q']", "send=[b'us', b'a']"],
        |ours| {
            ours.send_frames(&raw(&[b"q"])).unwrap();
            assert_eq!(frames(ours.recv().unwrap()), [b"a"]);
        },
    );
    each_way(
        Kind::Dealer,
        "REP",
        &["recv=[b'q']", "send=[b'a']"],
        |ours| {
            ours.send_frames(&raw(&[b"", b"q"])).unwrap();
            assert_eq!(frames(ours.recv().unwrap()), [&b""[..], b"a"]);
        },
    );
    each_way(
        Kind::Rep,
        "DEALER",
        &["send=[b'x', b'', b'q']", "recv=[b'x', b'', b'a']"],
        |ours| {
            assert_eq!(frames(ours.recv().unwrap()), [b"q"]);
            ours.send_frames(&raw(&[b"a"])).unwrap();
        },
    );
}

#[test]
fn pairs_and_dealers() {
    for kind in [(Kind::Pair, "PAIR"), (Kind::Dealer, "DEALER")] {
        each_way(kind.0, kind.1, &["echo=", "send=[b'end']"], |ours| {
            ours.send_with(&[b"topic"], &bytes(70_000, 1)).unwrap();
            let received = ours.recv().unwrap();
            assert_eq!(received.envelope, [b"topic"]);
            assert_eq!(message(received), bytes(70_000, 1));
            assert_eq!(frames(ours.recv().unwrap()), [b"end"]);
        });
    }
}

/// A proxy of libzmq's between our sockets: subscriptions go one way, and messages the other.
#[test]
fn a_proxy_of_libzmq_passes_subscriptions_and_messages() {
    let Some(python) = python_with("zmq") else {
        return;
    };
    let script = r#"
import zmq
context = zmq.Context()
front, back = context.socket(zmq.XSUB), context.socket(zmq.XPUB)
for name, socket in (("front", front), ("back", back)):
    socket.bind("tcp://127.0.0.1:*")
    print(f"{name}: zmq+{socket.getsockopt_string(zmq.LAST_ENDPOINT)}", flush=True)
zmq.proxy(front, back)
"#;
    let mut proxy = Peer::start(Command::new(&python).args(["-c", script]));
    let (front, back) = (proxy.hears("front"), proxy.hears("back"));
    let mut publisher = socket(Kind::Pub);
    publisher.connect(&front).unwrap();
    let mut subscriber = socket(Kind::Sub);
    subscriber.subscribe(b"b").unwrap();
    subscriber.connect(&back).unwrap();
    publisher.wait_for_peers(1).unwrap();
    for topic in [&b"a"[..], b"b"] {
        publisher.send_with(&[topic], &bytes(300_000, 1)).unwrap();
    }
    let received = subscriber.recv().unwrap();
    assert_eq!(received.envelope, [b"b"]);
    assert_eq!(message(received), bytes(300_000, 1));
    drop(subscriber);
    eventually("its end", || publisher.peers()[0].topics == 0);
}

/// Both our sockets and theirs come back where they were.
#[test]
fn a_subscriber_subscribes_again_to_a_publisher_that_comes_back() {
    let Some(python) = python_with("zmq") else {
        return;
    };
    let steps = ["recv=[b'\\x01b']", "send=[b'b1']"];
    let mut first = puppet(&python, "XPUB", "bind", "tcp://127.0.0.1:*", &steps);
    let at = first.hears("at");
    let mut subscriber = Socket::new(Kind::Sub, &options()).unwrap();
    subscriber.subscribe(b"b").unwrap();
    subscriber.connect(&format!("zmq+{at}")).unwrap();
    assert_eq!(frames(subscriber.recv().unwrap()), [b"b1"]);
    first.kill();
    let receiving = thread::spawn(move || frames(subscriber.recv().unwrap()));
    let mut second = puppet(
        &python,
        "XPUB",
        "bind",
        &at,
        &["recv=[b'\\x01b']", "send=[b'b2']"],
    );
    second.hears("at");
    assert_eq!(receiving.join().unwrap(), [b"b2"]);
}
