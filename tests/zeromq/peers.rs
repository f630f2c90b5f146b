//! Peers come, go, and are many.

use std::io::{Read as _, Write as _};
use std::thread;
use std::time::Duration;

use numpush::{Connection, Error, Message, Options};
use numpush_tests::{PATIENCE, bytes};

use crate::raw;

fn options() -> Options {
    Options::new().send_timeout(PATIENCE).recv_timeout(PATIENCE)
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
    let address = listener.address();
    let mut receiver = listener.accept().unwrap();
    let mut senders: Vec<_> = (0..3).map(|_| connect(&address)).collect();
    // The first has sent many before the others send one each.
    for _ in 0..50 {
        senders[0].send(&bytes(1000, 1)).unwrap();
    }
    for (sender, seed) in senders.iter_mut().zip(1..).skip(1) {
        sender.send(&bytes(1000, seed)).unwrap();
    }
    let came: Vec<_> = (0..52).map(|_| receiver.recv().unwrap().message).collect();
    for seed in [2, 3] {
        assert!(came.contains(&bytes(1000, seed)));
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
    let mut listener = loop {
        // The port of a connection that was just closed may be held for a moment.
        if let Ok(listener) = options().listen(&address) {
            break listener;
        }
        thread::yield_now();
    };
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
    let refused = loop {
        let _ = receiver_is_empty(&mut receiver);
        if let Some(refused) = listener.take_refused() {
            break refused;
        }
    };
    assert!(matches!(refused, Error::Handshake { .. }), "{refused:?}");
    sender.send(&bytes(10, 2)).unwrap();
    assert_eq!(receiver.recv().unwrap().message, bytes(10, 2));
}

fn receiver_is_empty(receiver: &mut Connection) -> bool {
    receiver.try_recv().is_err_and(|error| error.is_timeout())
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
    peer.write_all(b"\x00\x01\x01").unwrap();
    peer.set_nonblocking(true).unwrap();
    let mut head = [0; 6];
    numpush_tests::eventually("a message", || {
        publisher.send(&bytes(10, 1)).unwrap();
        peer.read_exact(&mut head).is_ok()
    });
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
#[test]
fn what_is_sent_before_a_close_or_a_drop_arrives() {
    let mut listener = options().listen("zmq+tcp://127.0.0.1:0").unwrap();
    let address = listener.address();
    let mut receiver = listener.accept().unwrap();
    for closes in [true, false] {
        for len in [10, 100_000, 32 << 20] {
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
                let message = Message::new(numpush::Buffer::borrowed(&borrowed[..len]));
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
