//! Connections that more than one thread uses.

use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use numpush::transfer::{Acknowledge, SendHalf, Switch, TransferPath};
use numpush::unix::SealedBufferMut;
use numpush::{Buffer, Error, Message, Options};
use numpush_tests::{PATIENCE, bytes, eventually};

use crate::{MOMENT, pairs, plain_pairs, sockets};

#[test]
fn halves_send_and_receive_at_once() {
    for pair in plain_pairs() {
        let (near_tx, near_rx) = pair.near.split().unwrap();
        let (far_tx, far_rx) = pair.far.split().unwrap();
        thread::scope(|scope| {
            for mut tx in [near_tx, far_tx] {
                scope.spawn(move || {
                    for at in 0..20 {
                        tx.send(&bytes(1 << 20, at)).unwrap();
                    }
                    tx.close().unwrap();
                });
            }
            for mut rx in [near_rx, far_rx] {
                scope.spawn(move || {
                    for at in 0..20 {
                        assert!(rx.recv().unwrap().message == bytes(1 << 20, at));
                    }
                    assert!(rx.recv().unwrap_err().is_closed());
                });
            }
        });
    }
}

/// The sending half reads acknowledgements, and with them a message that the other half waits for.
#[test]
fn a_half_that_waits_hears_of_what_the_other_half_read() {
    for pair in pairs(&Options::new().window(1), &Options::new()) {
        let (mut tx, mut rx) = pair.near.split().unwrap();
        let mut far = pair.far;
        let answers = thread::spawn(move || {
            for at in 0..200 {
                assert!(rx.recv().unwrap().message == bytes(100, at));
            }
        });
        let echo = thread::spawn(move || {
            for _ in 0..200 {
                let message = far.recv().unwrap().message;
                far.send(&message).unwrap();
            }
            far.flush().unwrap();
        });
        for at in 0..200 {
            tx.send(&bytes(100, at)).unwrap();
        }
        tx.flush().unwrap();
        answers.join().unwrap();
        echo.join().unwrap();
    }
}

#[test]
fn a_cancelled_call_ends_and_the_next_one_works() {
    for mut pair in plain_pairs() {
        let canceller = pair.near.canceller().unwrap();
        let cancel = thread::spawn(move || canceller.cancel());
        let error = pair.near.recv().unwrap_err();
        assert!(matches!(error, Error::Cancelled { .. }), "{error:?}");
        assert!(error.is_recoverable());
        cancel.join().unwrap();
        pair.far.send(&bytes(10, 1)).unwrap();
        assert!(pair.near.recv().unwrap().message == bytes(10, 1));
    }
}

/// Nothing is acknowledged before it is confirmed, whoever confirms it and whenever.
#[test]
fn a_message_is_acknowledged_when_another_thread_confirms_it() {
    let by_hand = Options::new().acknowledge(Acknowledge::OnConfirm);
    for mut pair in pairs(&Options::new(), &by_hand) {
        pair.near.send(&bytes(10, 1)).unwrap();
        let received = pair.far.recv().unwrap();
        pair.near.set_timeouts(Some(MOMENT), None);
        let error = pair.near.flush().unwrap_err();
        assert!(error.is_timeout(), "{error:?}");
        pair.near.set_timeouts(Some(PATIENCE), None);
        let mut far = pair.far;
        // It waits for a message that does not come, while the other thread confirms.
        let waiting = thread::spawn(move || far.recv().map(drop).unwrap_err());
        let confirming = thread::spawn(move || received.confirm());
        pair.near.flush().unwrap();
        assert!(confirming.join().unwrap() == bytes(10, 1));
        drop(pair.near);
        assert!(waiting.join().unwrap().is_closed());
    }
}

/// Memory that says on a connection when it is dropped.
struct Speaks {
    memory: Buffer<'static>,
    half: Arc<Mutex<SendHalf>>,
}

impl AsRef<[u8]> for Speaks {
    fn as_ref(&self) -> &[u8] {
        &self.memory
    }
}

impl Drop for Speaks {
    fn drop(&mut self) {
        if let Ok(mut half) = self.half.lock() {
            half.set_timeout(Some(PATIENCE));
            // The other side misses it if it does not go.
            let _ = (half.status(), half.send(&bytes(10, 1)));
        }
    }
}

const LARGE: usize = 32 << 20;

/// Memory in a file that says on `half` when it is dropped. The message has the file if `is_by_file`.
fn speaking(half: &Arc<Mutex<SendHalf>>, is_by_file: bool) -> Message<'static> {
    let mut memory = SealedBufferMut::new(LARGE).unwrap();
    memory.as_mut_slice().fill(7);
    let memory = memory.seal().unwrap();
    let backing = memory.backing().cloned().filter(|_| is_by_file);
    let half = Arc::clone(half);
    let mut buffer = Buffer::from_owner(Speaks { memory, half });
    if let Some(backing) = backing {
        buffer = buffer.with_backing(backing);
    }
    Message::from(buffer)
}

/// What was acknowledged, or written at last, was dropped while the connection was locked: the call never returned.
#[test]
fn memory_that_a_connection_lets_go_of_may_use_that_connection() {
    for is_by_file in [true, false] {
        let options = Options::new().sendfile(Switch::On);
        let pair = sockets(&options, &options).remove(0);
        let (tx, mut rx) = pair.near.split().unwrap();
        let mut far = pair.far;
        let half = Arc::new(Mutex::new(tx));
        let large = speaking(&half, is_by_file);
        {
            let mut half = half.lock().unwrap();
            half.send(&bytes(10, 0)).unwrap();
            assert!(far.recv().unwrap().message == bytes(10, 0));
            // Nobody reads, so that a part of it is left to calls of the other half.
            half.set_timeout(Some(Duration::ZERO));
            eventually("a part of it", || {
                let error = half.send(&large).unwrap_err();
                matches!(error, Error::Unfinished { .. })
            });
        }
        drop(large);
        let receiving = thread::spawn(move || {
            assert_eq!(far.recv().unwrap().message.payload_len(), LARGE as u64);
            assert!(far.recv().unwrap().message == bytes(10, 1));
            far.send(&bytes(10, 2)).unwrap();
            far.flush().unwrap();
        });
        let (done, end) = mpsc::channel();
        thread::spawn(move || done.send(rx.recv().map(|it| it.message == bytes(10, 2))));
        assert!(end.recv_timeout(PATIENCE).unwrap().unwrap());
        receiving.join().unwrap();
    }
}

/// What the peer gave back over unix was dropped while the connection was locked, too.
#[test]
fn memory_that_a_peer_gives_back_may_use_that_connection() {
    let options = Options::new();
    let pair = sockets(&options, &options).remove(1);
    let (tx, mut rx) = pair.near.split().unwrap();
    let mut far = pair.far;
    let half = Arc::new(Mutex::new(tx));
    let large = speaking(&half, true);
    let sent = half.lock().unwrap().send(&large).unwrap();
    assert_eq!(sent.path, TransferPath::Reference);
    drop(large);
    let receiving = thread::spawn(move || {
        assert_eq!(far.recv().unwrap().message.payload_len(), LARGE as u64);
        // It gives back what it has dropped.
        far.send(&bytes(10, 2)).unwrap();
        assert!(far.recv().unwrap().message == bytes(10, 1));
        far.send(&bytes(10, 3)).unwrap();
        far.flush().unwrap();
    });
    let (done, end) = mpsc::channel();
    thread::spawn(move || {
        for number in 2..4 {
            let received = rx.recv().map(|it| it.message == bytes(10, number));
            done.send(received).unwrap();
        }
    });
    for _ in 2..4 {
        assert!(end.recv_timeout(PATIENCE).unwrap().unwrap());
    }
    receiving.join().unwrap();
}
