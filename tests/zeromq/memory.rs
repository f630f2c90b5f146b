//! Memory of the program, and memory that peers make this process hold.

use std::io::{Read as _, Write as _};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use numpush::model::{AllocError, BufferAllocator, BufferMut, HeapAllocator};
use numpush::transfer::Budget;
use numpush::{Buffer, Error, Listener, Message, Options};
use numpush_tests::{PATIENCE, bytes};

use crate::raw;

fn options() -> Options {
    let options = Options::new().send_timeout(PATIENCE).recv_timeout(PATIENCE);
    options.connect_timeout(PATIENCE)
}

/// Memory whose drop waits for the program.
struct Waits {
    bytes: Vec<u8>,
    begins: Sender<()>,
    goes_on: Mutex<Receiver<()>>,
    /// True if it did not wait in vain.
    ends: Sender<bool>,
}

/// What the program has of it.
struct Drops {
    begin: Receiver<()>,
    go_on: Sender<()>,
    end: Receiver<bool>,
}

impl Waits {
    fn new(len: usize) -> (Self, Drops) {
        let (begins, begin) = channel();
        let (go_on, goes_on) = channel();
        let (ends, end) = channel();
        let waits = Self {
            bytes: vec![7; len],
            begins,
            goes_on: Mutex::new(goes_on),
            ends,
        };
        (waits, Drops { begin, go_on, end })
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        let _ = self.begins.send(());
        let goes_on = self.goes_on.lock().unwrap();
        let _ = self.ends.send(goes_on.recv_timeout(PATIENCE).is_ok());
    }
}

impl AsRef<[u8]> for Waits {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl BufferMut for Waits {
    fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    fn freeze(self: Box<Self>) -> Buffer<'static> {
        Buffer::from_owner(*self)
    }
}

/// The thread that keeps all sockets dropped what was written under the lock of its socket.
#[test]
fn what_was_written_is_dropped_without_a_lock() {
    let endpoint = "zmq+tcp://127.0.0.1:0?socket=push";
    let mut listener = options().listen(endpoint).unwrap();
    let mut sender = listener.accept().unwrap();
    let mut peer = raw::connect(&listener.address(), 1, "PULL");
    let (memory, drops) = Waits::new(64 << 20);
    // More than the kernel takes: the rest is queued.
    let message = Message::new(Buffer::from_owner(memory));
    sender.send(&message).unwrap();
    drop(message);
    std::thread::scope(|scope| {
        // Nobody makes a call, so that the thread writes it.
        scope.spawn(|| peer.read_exact(&mut vec![0; 64 << 20]));
        drops.begin.recv_timeout(PATIENCE).unwrap();
        sender.send(&bytes(10, 1)).unwrap();
        drops.go_on.send(()).unwrap();
        assert!(drops.end.recv().unwrap(), "the call waited for the drop");
    });
}

/// An allocator with one region.
#[derive(Clone)]
struct One(Arc<Mutex<Option<Waits>>>);

impl BufferAllocator for One {
    fn allocate(&mut self, len: usize) -> Result<Box<dyn BufferMut>, AllocError> {
        let region = self.0.lock().unwrap().take();
        let region = region.ok_or(AllocError::NoMemory { len })?;
        Ok(Box::new(region))
    }
}

/// What is left of a message whose peer is gone was dropped under the lock that `status` needs.
#[test]
fn what_had_come_of_a_message_is_dropped_without_a_lock() {
    let (memory, drops) = Waits::new(1 << 20);
    let region = Arc::new(Mutex::new(Some(memory)));
    let options = options().allocator(One(Arc::clone(&region)));
    let mut listener = options.listen("zmq+tcp://127.0.0.1:0").unwrap();
    let mut receiver = listener.accept().unwrap();
    let mut peer = raw::connect(&listener.address(), 1, "PUSH");
    let frames = raw::framed(&bytes(1 << 20, 1));
    peer.write_all(&frames[..1000]).unwrap();
    receiver.set_timeouts(None, Some(Duration::from_millis(1)));
    numpush_tests::eventually("a region for the message", || {
        assert!(receiver.recv().unwrap_err().is_timeout());
        region.lock().unwrap().is_none()
    });
    drop(peer);
    let Drops { begin, go_on, end } = drops;
    std::thread::scope(|scope| {
        let dropping = scope.spawn(move || {
            loop {
                assert!(receiver.recv().unwrap_err().is_timeout());
                if let Ok(went_on) = end.try_recv() {
                    break went_on;
                }
            }
        });
        begin.recv_timeout(PATIENCE).unwrap();
        assert_eq!(listener.status().handshakes, 0);
        go_on.send(()).unwrap();
        assert!(dropping.join().unwrap(), "the listener waited for the drop");
    });
}

/// An allocator that asks the listener.
#[derive(Clone)]
struct Asks(Arc<Mutex<Option<Listener>>>);

impl BufferAllocator for Asks {
    fn allocate(&mut self, len: usize) -> Result<Box<dyn BufferMut>, AllocError> {
        let mut listener = self.0.lock().unwrap();
        let listener = listener.as_mut().unwrap();
        assert_eq!(listener.status().handshakes, 0);
        assert!(listener.take_refused().is_none());
        HeapAllocator::new().allocate(len)
    }
}

/// What a listener says was under the lock that a call has while it asks for memory.
#[test]
fn an_allocator_may_ask_the_listener() {
    let place = Arc::new(Mutex::new(None));
    let options = options().allocator(Asks(Arc::clone(&place)));
    let mut listener = options.listen("zmq+tcp://127.0.0.1:0").unwrap();
    let mut receiver = listener.accept().unwrap();
    let mut peer = raw::connect(&listener.address(), 1, "PUSH");
    *place.lock().unwrap() = Some(listener);
    peer.write_all(&raw::framed(&bytes(100, 1))).unwrap();
    let (done, is_done) = channel();
    std::thread::spawn(move || done.send(receiver.recv().unwrap().message == bytes(100, 1)));
    assert!(is_done.recv_timeout(PATIENCE).unwrap());
}

/// Two messages that together are more than the budget wait for each other, and the bytes of both are counted.
#[test]
fn what_comes_in_part_is_within_the_budget() {
    let budget = Budget::new().max_bytes(8 << 20);
    let options = options().budget(budget.clone());
    let mut listener = options.listen("zmq+tcp://127.0.0.1:0").unwrap();
    let mut receiver = listener.accept().unwrap();
    let address = listener.address();
    let mut stops = raw::connect(&address, 1, "PUSH");
    let mut goes_on = raw::connect(&address, 1, "PUSH");
    let frames = raw::framed(&bytes(4 << 20, 1));
    std::thread::scope(|scope| {
        let stopped = scope.spawn(|| stops.write_all(&frames[..3 << 20]).map(|()| stops));
        numpush_tests::eventually("what has come of the first", || {
            assert!(receiver.try_recv().unwrap_err().is_timeout());
            budget.bytes() >= 3 << 20
        });
        scope.spawn(|| goes_on.write_all(&frames));
        numpush_tests::eventually("a message without room", || {
            let error = receiver.try_recv().map(drop).unwrap_err();
            assert!((3 << 20..8 << 20).contains(&budget.bytes()));
            matches!(error, Error::NoRoom { .. })
        });
        drop(stopped.join().unwrap());
        assert!(receiver.recv().unwrap().message == bytes(4 << 20, 1));
    });
    // Nothing of a message that is the program's now, and nothing of a peer that is gone.
    assert_eq!(budget.bytes(), 0);
}

/// One for which there is never room passes by, and the peer stays.
#[test]
fn what_never_fits_into_the_budget_passes_by() {
    let options = options().budget(Budget::new().max_bytes(1 << 20));
    let mut listener = options.listen("zmq+tcp://127.0.0.1:0").unwrap();
    let mut receiver = listener.accept().unwrap();
    let mut peer = raw::connect(&listener.address(), 1, "PUSH");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            peer.write_all(&raw::framed(&bytes(4 << 20, 1))).unwrap();
            peer.write_all(&raw::framed(&bytes(100, 2))).unwrap();
        });
        let error = receiver.recv().unwrap_err();
        assert!(matches!(error, Error::Skipped { .. }), "{error:?}");
        assert_eq!(receiver.recv().unwrap().message, bytes(100, 2));
    });
}

/// Peers that were more than there might be had places all the same.
#[test]
fn one_peer_more_than_the_budget_is_sent_away() {
    let budget = Budget::new().max_connections(2);
    let options = options().budget(budget.clone());
    let mut listener = options.listen("zmq+tcp://127.0.0.1:0").unwrap();
    let address = listener.address();
    let first = raw::connect(&address, 1, "PUSH");
    let second = raw::connect(&address, 1, "PUSH");
    numpush_tests::eventually("two peers", || budget.connections() == 2);
    // It may hear that the other side is ready before that knows who it is.
    let ended = raw::begin(&address, 1, "PUSH").read_to_end(&mut Vec::new());
    let is_late = |error: &std::io::Error| error.kind() == std::io::ErrorKind::WouldBlock;
    assert!(!ended.as_ref().is_err_and(is_late), "{ended:?}");
    let mut refused = None;
    numpush_tests::eventually("a reason", || {
        refused = listener.take_refused();
        refused.is_some()
    });
    let Some(Error::Handshake { source, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert!(
        matches!(*source, Error::OverLimit { limit: 2, .. }),
        "{source:?}"
    );
    drop(first);
    numpush_tests::eventually("a free place", || budget.connections() == 1);
    let third = raw::connect(&address, 1, "PUSH");
    numpush_tests::eventually("two peers again", || budget.connections() == 2);
    drop((second, third));
}

/// A message that stopped half-way kept its room, and its peer's descriptor, for as long as its peer liked.
#[test]
fn a_message_that_does_not_go_on_ends_its_peer() {
    let options = options().patience(Duration::from_millis(10));
    let mut listener = options.listen("zmq+tcp://127.0.0.1:0").unwrap();
    let mut receiver = listener.accept().unwrap();
    let mut peer = raw::connect(&listener.address(), 1, "PUSH");
    let frames = raw::framed(&bytes(1 << 20, 1));
    peer.write_all(&frames[..1000]).unwrap();
    receiver.set_timeouts(None, Some(Duration::from_millis(1)));
    let mut refused = None;
    numpush_tests::eventually("a reason", || {
        assert!(receiver.recv().unwrap_err().is_timeout());
        refused = listener.take_refused();
        refused.is_some()
    });
    let Some(Error::Handshake { source, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert!(matches!(*source, Error::Stalled { .. }), "{source:?}");
    assert!(matches!(peer.read(&mut [0]), Ok(0) | Err(_)));
}

/// Who does not send to it has no topics, and all kinds of sockets kept them.
#[test]
fn only_a_publisher_keeps_topics() {
    let mut listener = options().listen("zmq+tcp://127.0.0.1:0").unwrap();
    let mut receiver = listener.accept().unwrap();
    let mut peer = raw::connect(&listener.address(), 1, "PUSH");
    // More than a publisher takes.
    for number in 0..20_000u32 {
        let mut command = Vec::from(b"\x04\x0e\x09SUBSCRIBE");
        command.extend(number.to_le_bytes());
        peer.write_all(&command).unwrap();
    }
    peer.write_all(&raw::framed(&bytes(100, 1))).unwrap();
    assert_eq!(receiver.recv().unwrap().message, bytes(100, 1));
}
