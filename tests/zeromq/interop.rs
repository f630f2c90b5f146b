//! libzmq, by pyzmq, takes what numpush sends and sends what numpush takes, whoever listens.

use std::process::Command;
use std::thread;

use numpush::{Buffer, Connection, Message, Transfer};
use numpush_tests::{Peer, TempPath, bytes, every_dtype, python_with};

use crate::kinds::options;

/// Passes on what it gets. Its arguments: bind or connect and where, to receive and to send.
const RELAY: &str = r#"
import sys, zmq
context = zmq.Context()
pull, push = context.socket(zmq.PULL), context.socket(zmq.PUSH)
for word, socket, how, where in (("pull", pull, *sys.argv[1:3]), ("push", push, *sys.argv[3:5])):
    getattr(socket, how)(where)
    print(f"{word}: {socket.getsockopt_string(zmq.LAST_ENDPOINT)}", flush=True)
while True:
    push.send_multipart(pull.recv_multipart(copy=False), copy=False)
"#;

fn relay(python: &str, arguments: [&str; 4]) -> Peer {
    Peer::start(Command::new(python).args(["-c", RELAY]).args(arguments))
}

/// Sizes around those where a frame's head, the read-ahead and the landing change.
fn messages() -> Vec<Message<'static>> {
    let sizes = [
        0,
        1,
        255,
        256,
        4095,
        4096,
        16_384,
        65_535,
        65_536,
        65_537,
        64 << 20,
    ];
    let sized = sizes.into_iter().zip(1..).map(|(len, seed)| {
        let message = bytes(len, seed);
        message.with_attribute("size", len.to_string())
    });
    let mut messages = every_dtype();
    messages.extend(sized);
    // A large one may come behind a small one, and another large one behind it.
    messages.extend([bytes(1 << 20, 1), bytes(1 << 20, 2), bytes(10, 3)]);
    messages
}

/// Sends `messages` and receives them. What each send has cost is `judged`.
pub(crate) fn goes_through(
    mut sender: Connection,
    receiver: &mut Connection,
    messages: &[Message<'_>],
    judged: impl Fn(&Message<'_>, Transfer) + Send,
) {
    thread::scope(|scope| {
        scope.spawn(move || {
            for message in messages {
                judged(message, sender.send(message).unwrap());
            }
            sender.close().unwrap();
        });
        for expected in messages {
            let received = receiver.recv().unwrap();
            assert!(received.message == *expected, "{expected:?}");
            let transfer = received.transfer;
            assert!(transfer.bytes < 1 << 20 || transfer.copied < 64 << 10);
        }
    });
}

fn costs_no_copy_but_of_what_is_short(message: &Message<'_>, sent: Transfer) {
    // What is short is copied to where it waits.
    let len: usize = message.buffers().map(Buffer::len).sum();
    let short = if len <= 4 << 10 { len as u64 } else { 0 };
    assert_eq!(sent.copied, message.copied_bytes() + short);
}

fn all_go_through(sender: Connection, receiver: &mut Connection) {
    goes_through(
        sender,
        receiver,
        &messages(),
        costs_no_copy_but_of_what_is_short,
    );
}

#[test]
fn libzmq_takes_and_sends_when_it_listens() {
    let Some(python) = python_with("zmq") else {
        return;
    };
    let mut relay = relay(
        &python,
        ["bind", "tcp://127.0.0.1:*", "bind", "tcp://127.0.0.1:*"],
    );
    let (pull, push) = (relay.hears("pull"), relay.hears("push"));
    let sender = options().connect(&format!("zmq+{pull}")).unwrap();
    let endpoint = format!("zmq+{push}?socket=pull");
    all_go_through(sender, &mut options().connect(&endpoint).unwrap());
}

#[test]
fn libzmq_takes_and_sends_when_it_connects() {
    let Some(python) = python_with("zmq") else {
        return;
    };
    let place = TempPath::new("relay");
    let ipc = format!("zmq+ipc://{}", place.0.display());
    for endpoint in ["zmq+tcp://127.0.0.1:0", &ipc] {
        let push = format!("{endpoint}?socket=push");
        let mut taker = options().listen(&push).unwrap();
        let mut giver = options().listen("zmq+tcp://127.0.0.1:0").unwrap();
        let (from, to) = (taker.address(), giver.address());
        let from = from.trim_start_matches("zmq+");
        let to = to.trim_start_matches("zmq+");
        let _relay = relay(&python, ["connect", from, "connect", to]);
        let sender = taker.accept().unwrap();
        all_go_through(sender, &mut giver.accept().unwrap());
    }
}

/// Each side may end and come back at the same place: the other one goes on.
#[test]
fn a_relay_that_is_killed_and_started_again_is_found_again() {
    let Some(python) = python_with("zmq") else {
        return;
    };
    let mut first = relay(
        &python,
        ["bind", "tcp://127.0.0.1:*", "bind", "tcp://127.0.0.1:*"],
    );
    let (pull, push) = (first.hears("pull"), first.hears("push"));
    let mut sender = options().connect(&format!("zmq+{pull}")).unwrap();
    let endpoint = format!("zmq+{push}?socket=pull");
    let mut receiver = options().connect(&endpoint).unwrap();
    sender.send(&bytes(1000, 1)).unwrap();
    assert!(receiver.recv().unwrap().message == bytes(1000, 1));
    first.kill();
    let mut second = relay(&python, ["bind", &pull, "bind", &push]);
    second.hears("push");
    // What was on its way to the first one is lost with it; what is sent later arrives.
    receiver.set_timeouts(None, Some(std::time::Duration::from_millis(100)));
    numpush_tests::eventually("a message through the second", || {
        sender.send(&bytes(1000, 2)).unwrap();
        match receiver.recv() {
            Ok(received) => received.message == bytes(1000, 2),
            Err(error) => {
                assert!(error.is_timeout(), "{error:?}");
                false
            }
        }
    });
}
