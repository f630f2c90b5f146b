//! Peers come, go, and are many.

use std::io::{Read as _, Write as _};
use std::thread;
use std::time::Duration;

use numpush::{Buffer, Connection, Error, Message, Options};
use numpush_tests::{PATIENCE, bytes};

use crate::raw;

fn options() -> Options {
    let options = Options::new().send_timeout(PATIENCE).recv_timeout(PATIENCE);
    options.connect_timeout(PATIENCE)
}

fn connect(endpoint: &str) -> Connection {
    options().connect(endpoint).unwrap()
}

/// The payload of a message of bytes.
fn payload(message: &Message<'_>) -> Vec<u8> {
    Vec::from(&message.buffers().next().unwrap()[..])
}

#[test]
fn many_senders_are_taken_in_turn() {
    let mut listener = options().listen("zmq+tcp://127.0.0.1:0").unwrap();
    let mut receiver = listener.accept().unwrap();
    let mut senders = [1, 2, 3].map(|_| raw::connect(&listener.address(), 1, "PUSH"));
    // All of it is there before the first call. The first has sent many before the others send one each.
    let many = raw::framed(&bytes(1000, 1)).repeat(50);
    senders[0].write_all(&many).unwrap();
    for (sender, seed) in senders.iter_mut().zip(1..).skip(1) {
        // What is behind the ping is seen with it.
        let mut all = Vec::from(b"\x04\x07\x04PING\x00\x00");
        all.extend(raw::framed(&bytes(1000, seed)));
        sender.write_all(&all).unwrap();
        sender.read_exact(&mut [0; 7]).unwrap();
    }
    let came: Vec<_> = (0..10).map(|_| receiver.recv().unwrap().message).collect();
    for seed in [2, 3] {
        assert!(
            came.contains(&bytes(1000, seed)),
            "{seed} is not among the first ten"
        );
    }
}

#[test]
fn receivers_get_messages_in_turn() {
    let mut listener = options()
        .listen("zmq+tcp://127.0.0.1:0?socket=push")
        .unwrap();
    let endpoint = format!("{}?socket=pull", listener.address());
    let mut sender = listener.accept().unwrap();
    let mut receivers = [connect(&endpoint), connect(&endpoint)];
    // The sender knows of each once it gets something.
    for receiver in &mut receivers {
        numpush_tests::eventually("a message", || {
            sender.send(&bytes(1000, 1)).unwrap();
            receiver.try_recv().is_ok()
        });
    }
    for receiver in &mut receivers {
        while receiver.try_recv().is_ok() {}
    }
    for _ in 0..10 {
        sender.send(&bytes(1000, 2)).unwrap();
    }
    for receiver in &mut receivers {
        let mut came = 0;
        while came < 5 {
            came += i32::from(receiver.recv().unwrap().message == bytes(1000, 2));
        }
    }
}

/// M17: sends to a receiver that had been started again hung for ever.
#[test]
fn who_connects_finds_a_listener_again() {
    let mut listener = options().listen("zmq+tcp://127.0.0.1:0").unwrap();
    let address = listener.address();
    let mut sender = connect(&address);
    let mut receiver = listener.accept().unwrap();
    sender.send(&bytes(1000, 1)).unwrap();
    assert_eq!(receiver.recv().unwrap().message, bytes(1000, 1));
    drop((receiver, listener));
    let mut again = None;
    // The port of a connection that was just closed may be held for a moment.
    numpush_tests::eventually("the port", || {
        again = options().listen(&address).ok();
        again.is_some()
    });
    let mut listener = again.unwrap();
    let mut receiver = listener.accept().unwrap();
    receiver.set_timeouts(None, Some(Duration::from_millis(100)));
    numpush_tests::eventually("a message at the second listener", || {
        sender.send(&bytes(1000, 2)).unwrap();
        receiver.recv().is_ok()
    });
}

/// A message that a peer has not whole when it dies goes to another one.
#[test]
fn what_a_dead_peer_has_not_whole_goes_to_another() {
    let mut listener = options()
        .listen("zmq+tcp://127.0.0.1:0?socket=push")
        .unwrap();
    let address = listener.address();
    let mut sender = listener.accept().unwrap();
    let dead = raw::connect(&address, 1, "PULL");
    let message = bytes(64 << 20, 1);
    // Shared memory is queued: the call does not wait for a peer that does not read.
    sender.send(&message).unwrap();
    drop(dead);
    let mut receiver = connect(&format!("{address}?socket=pull"));
    assert!(receiver.recv().unwrap().message == message);
}

/// M16: what one peer does wrong was the error of all, and ended the command line's receiver.
#[test]
fn a_peer_that_dies_in_the_middle_of_a_message_is_nobodys_error() {
    let mut listener = options().listen("zmq+tcp://127.0.0.1:0").unwrap();
    let address = listener.address();
    let mut receiver = listener.accept().unwrap();
    let mut dies = raw::connect(&address, 1, "PUSH");
    let mut sender = connect(&address);
    sender.send(&bytes(10, 1)).unwrap();
    dies.write_all(&[1, 100, 7]).unwrap();
    drop(dies);
    assert_eq!(receiver.recv().unwrap().message, bytes(10, 1));
    let mut refused = None;
    numpush_tests::eventually("a reason", || {
        assert!(receiver.try_recv().unwrap_err().is_timeout());
        refused = listener.take_refused();
        refused.is_some()
    });
    assert!(matches!(refused, Some(Error::Handshake { .. })));
    sender.send(&bytes(10, 2)).unwrap();
    assert_eq!(receiver.recv().unwrap().message, bytes(10, 2));
}

#[test]
fn a_foreign_message_passes_by_and_the_peer_stays() {
    let mut listener = options().listen("zmq+tcp://127.0.0.1:0").unwrap();
    let mut peer = raw::connect(&listener.address(), 1, "PUSH");
    let mut receiver = listener.accept().unwrap();
    // A message of two frames that is none of ours, and one of ours behind it.
    peer.write_all(b"\x01\x03one\x00\x03two").unwrap();
    let error = receiver.recv().unwrap_err();
    assert!(matches!(error, Error::Skipped { .. }), "{error:?}");
    assert!(error.is_recoverable());
    let record = numpush_tests::record(&bytes(64, 1), 0);
    let len = 64 + u32::from_le_bytes(record[8..12].try_into().unwrap()) as usize;
    let mut frames = raw::long_head(len as u64, true);
    frames.extend(&record[..len]);
    frames.extend([0, 64]);
    frames.extend(payload(&bytes(64, 1)));
    // Topics before it mean nothing here.
    peer.write_all(b"\x01\x05topic").unwrap();
    for byte in frames {
        peer.write_all(&[byte]).unwrap();
    }
    assert_eq!(receiver.recv().unwrap().message, bytes(64, 1));
}

#[test]
fn a_peer_of_version_3_0_subscribes_by_messages() {
    let mut listener = options()
        .listen("zmq+tcp://127.0.0.1:0?socket=pub")
        .unwrap();
    let mut publisher = listener.accept().unwrap();
    let mut peer = raw::connect(&listener.address(), 0, "SUB");
    // Behind the answer the subscription is known.
    peer.write_all(b"\x00\x01\x01\x04\x07\x04PING\x00\x00")
        .unwrap();
    peer.read_exact(&mut [0; 7]).unwrap();
    publisher.send(&bytes(10, 1)).unwrap();
    let mut head = [0; 6];
    peer.read_exact(&mut head).unwrap();
    assert_eq!(head[2..], *b"\x93NPM");
}

/// What is no subscription ended its peer if it was long, and each of its frames was one if it had many.
#[test]
fn what_is_no_subscription_passes_by() {
    let mut listener = options()
        .listen("zmq+tcp://127.0.0.1:0?socket=pub")
        .unwrap();
    let mut publisher = listener.accept().unwrap();
    let mut peer = raw::connect(&listener.address(), 1, "XSUB");
    let mut long = raw::long_head(10_000, false);
    long.resize(9 + 10_000, 7);
    peer.write_all(&long).unwrap();
    // The second frame is no subscription to all either.
    peer.write_all(b"\x01\x03\x01no\x00\x01\x01").unwrap();
    peer.write_all(b"\x04\x07\x04PING\x00\x00").unwrap();
    let mut pong = [0; 7];
    peer.read_exact(&mut pong).unwrap();
    assert_eq!(pong, *b"\x04\x05\x04PONG");
    publisher.send(&bytes(10, 1)).unwrap();
    peer.write_all(b"\x00\x05\x01\x93NPM").unwrap();
    peer.write_all(b"\x04\x07\x04PING\x00\x00").unwrap();
    // Nothing of the message came before it.
    peer.read_exact(&mut pong).unwrap();
    assert_eq!(pong, *b"\x04\x05\x04PONG");
    publisher.send(&bytes(10, 2)).unwrap();
    let mut head = [0; 6];
    peer.read_exact(&mut head).unwrap();
    assert_eq!(head[2..], *b"\x93NPM");
}

/// M15: a subscriber that does not read stopped all others.
#[test]
fn a_subscriber_that_does_not_read_stops_nobody() {
    let options = options().window(1 << 20);
    let mut listener = options.listen("zmq+tcp://127.0.0.1:0?socket=pub").unwrap();
    let mut publisher = listener.accept().unwrap();
    let mut stuck = raw::connect(&listener.address(), 1, "SUB");
    stuck.write_all(b"\x04\x0a\x09SUBSCRIBE").unwrap();
    let mut reads = connect(&format!("{}?socket=sub", listener.address()));
    thread::scope(|scope| {
        let reading = scope.spawn(move || {
            for _ in 0..20 {
                assert_eq!(reads.recv().unwrap().message, bytes(4 << 20, 1));
            }
        });
        let message = bytes(4 << 20, 1);
        while !reading.is_finished() {
            publisher.send(&message).unwrap();
        }
        reading.join().unwrap();
    });
    drop(stuck);
}

/// C5: a close that returned had lost the message.
/// Short messages that waited for more were written by the wait of the call behind them, which then waited for an event.
#[test]
fn a_long_message_waits_for_the_short_ones_before_it_and_for_nothing_else() {
    let mut listener = options().listen("zmq+tcp://127.0.0.1:0").unwrap();
    let mut sender = options().connect(&listener.address()).unwrap();
    let mut receiver = listener.accept().unwrap();
    let memory = vec![7; 100_000];
    let receiving = thread::spawn(move || {
        for _ in 0..200 {
            for len in [1, 2, memory.len()] {
                let message = receiver.recv().unwrap().message;
                assert_eq!(message.as_bytes().unwrap().len(), len);
            }
        }
    });
    let memory = vec![7; 100_000];
    for _ in 0..200 {
        for len in [1, 2, memory.len()] {
            sender
                .send(&Message::new(Buffer::borrowed(&memory[..len])))
                .unwrap();
        }
    }
    sender.close().unwrap();
    receiving.join().unwrap();
}

#[test]
fn what_is_sent_before_a_close_or_a_drop_arrives() {
    let mut listener = options().listen("zmq+tcp://127.0.0.1:0").unwrap();
    let address = listener.address();
    let mut receiver = listener.accept().unwrap();
    // A drop waits two seconds, in which a loaded machine may not receive much.
    for (closes, most) in [(true, 32 << 20), (false, 100_000)] {
        for len in [10, 100_000, most] {
            thread::scope(|scope| {
                scope.spawn(|| {
                    let mut sender = connect(&address);
                    sender.send(&bytes(len, 1)).unwrap();
                    if closes {
                        sender.close().unwrap();
                    }
                });
                assert!(receiver.recv().unwrap().message == bytes(len, 1), "{len}");
            });
        }
    }
}

/// A socket that was closed went on dialling, and took what nobody received.
#[test]
fn two_directions_end_together() {
    let endpoint = "zmq+tcp://127.0.0.1:0?socket=rep";
    let listener = options().listen(endpoint).unwrap();
    let mut asks = connect(&format!("{}?socket=req", listener.address()));
    let error = asks.close_sending().unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }), "{error:?}");
    asks.send(&bytes(10, 1)).unwrap();
}

/// A process that was forked has the sockets of its parent, and leaves them alone.
#[test]
fn a_forked_child_leaves_the_socket_to_its_parent() {
    let mut listener = options().listen("zmq+tcp://127.0.0.1:0").unwrap();
    let mut receiver = listener.accept().unwrap();
    let mut sender = connect(&listener.address());
    let child = numpush_tests::Forked::start(|| {
        let refused = sender.send(&bytes(10, 1));
        drop(sender);
        matches!(refused, Err(Error::Forked { .. }))
    });
    assert_eq!(child.exit_code(), Some(0));
    let mut sender = connect(&listener.address());
    sender.send(&bytes(10, 2)).unwrap();
    assert_eq!(receiver.recv().unwrap().message, bytes(10, 2));
}

/// A payload lands where the allocator says, and nothing of it is copied.
#[test]
fn large_payloads_land_in_an_arena_without_a_copy() {
    let arena = numpush::shm::Arena::new(256 << 20);
    let options = options().allocator(arena.clone());
    let mut listener = options.listen("zmq+tcp://127.0.0.1:0").unwrap();
    let mut receiver = listener.accept().unwrap();
    let address = listener.address();
    let borrowed = vec![7; 8 << 20];
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut sender = connect(&address);
            for len in [100_000, 8 << 20, 8 << 20] {
                let message = Message::new(Buffer::borrowed(&borrowed[..len]));
                assert_eq!(sender.send(&message).unwrap().copied, 0);
            }
            sender.close().unwrap();
        });
        for len in [100_000, 8 << 20, 8 << 20] {
            let received = receiver.recv().unwrap();
            assert_eq!(received.transfer.copied, 0, "{len}");
            let buffer = received.message.buffers().next().unwrap();
            assert!(buffer[..] == borrowed[..len]);
            assert!(arena.usage().used >= len);
        }
    });
}

/// A blocking call needs no runtime, and minds none.
#[test]
fn a_task_of_a_runtime_may_call() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut listener = options().listen("zmq+tcp://127.0.0.1:0").unwrap();
        let mut sender = connect(&listener.address());
        sender.send(&bytes(10, 1)).unwrap();
        assert_eq!(
            listener.accept().unwrap().recv().unwrap().message,
            bytes(10, 1)
        );
    });
}
