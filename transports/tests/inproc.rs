//! What only links inside a process do.
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod room;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use numpush_message::{Buffer, Message};
use numpush_transports::{Error, Options, Refusal, connect, listen};

use room::Room;

/// Only a fault waits so long.
const PATIENCE: Duration = Duration::from_secs(30);

fn message(byte: u8) -> Message<'static> {
    Message::from(Buffer::from(vec![byte; 1000]))
}

#[test]
fn a_link_that_nobody_accepted_is_gone_with_its_listener() {
    let listener = listen("inproc:gone").unwrap();
    let mut link = connect("inproc:gone").unwrap();
    link.send(&message(1)).unwrap();
    drop(listener);
    let is_gone = |error| assert!(matches!(error, Error::Disconnected { .. }), "{error:?}");
    is_gone(link.recv().unwrap_err());
    is_gone(link.flush().unwrap_err());
    is_gone(link.send(&message(2)).unwrap_err());
}

#[test]
fn a_link_that_was_accepted_and_dropped_has_closed() {
    let mut listener = listen("inproc:closed").unwrap();
    let mut link = connect("inproc:closed").unwrap();
    drop(listener.accept().unwrap());
    drop(listener);
    assert!(link.recv().unwrap_err().is_closed());
}

#[test]
fn a_message_waits_until_there_is_room() {
    let room = Room {
        left: Arc::default(),
        max: 4096,
    };
    let options = Options::new().allocator(room.clone());
    let mut listener = options.listen("inproc:room").unwrap();
    let mut tx = connect("inproc:room").unwrap();
    let mut rx = listener.accept().unwrap();
    tx.send(&message(1)).unwrap();
    tx.send(&message(2)).unwrap();
    for _ in 0..3 {
        let error = rx.recv().unwrap_err();
        assert!(matches!(error, Error::NoRoom { .. }), "{error:?}");
        assert!(error.is_recoverable());
    }
    for byte in [1, 2] {
        room.left.store(1000, Ordering::Relaxed);
        assert_eq!(rx.recv().unwrap().message, message(byte));
    }
}

/// The sender may end its process after a flush.
#[test]
fn a_flush_waits_for_a_message_without_room() {
    let room = Room {
        left: Arc::default(),
        max: 4096,
    };
    let options = Options::new().allocator(room.clone());
    let mut listener = options.listen("inproc:no-room").unwrap();
    let mut tx = connect("inproc:no-room").unwrap();
    let mut rx = listener.accept().unwrap();
    tx.send(&message(1)).unwrap();
    assert!(matches!(rx.recv().unwrap_err(), Error::NoRoom { .. }));
    tx.set_timeouts(Some(Duration::ZERO), None);
    assert!(tx.flush().unwrap_err().is_timeout());
    room.left.store(1000, Ordering::Relaxed);
    thread::scope(|scope| {
        tx.set_timeouts(Some(PATIENCE), None);
        let flushed = scope.spawn(|| tx.flush());
        assert_eq!(rx.recv().unwrap().message, message(1));
        flushed.join().unwrap().unwrap();
    });
    tx.send(&message(2)).unwrap();
    assert!(matches!(rx.recv().unwrap_err(), Error::NoRoom { .. }));
    drop(rx);
    let error = tx.flush().unwrap_err();
    assert!(matches!(error, Error::Disconnected { .. }), "{error:?}");
}

#[test]
fn a_message_that_never_fits_is_refused_with_both_lengths() {
    let room = Room {
        left: Arc::default(),
        max: 999,
    };
    let options = Options::new().allocator(room);
    let mut listener = options.listen("inproc:small").unwrap();
    let mut tx = connect("inproc:small").unwrap();
    let mut rx = listener.accept().unwrap();
    tx.send(&message(1)).unwrap();
    let error = rx.recv().unwrap_err();
    assert!(!error.is_recoverable());
    let text = format!("{error:?}");
    assert!(text.contains("1000") && text.contains("999"), "{text}");
    let error = tx.send(&message(2)).unwrap_err();
    let reason = Refusal::NoRoom;
    assert!(
        matches!(error, Error::Refused { reason: said, .. } if said == reason),
        "{error:?}"
    );
}

/// Bytes whose end takes until somebody has used the link.
struct Slow {
    ending: Sender<()>,
    used: Mutex<Receiver<()>>,
    in_time: Arc<AtomicUsize>,
}

impl AsRef<[u8]> for Slow {
    fn as_ref(&self) -> &[u8] {
        b"slow"
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        self.ending.send(()).unwrap();
        let used = self.used.lock().unwrap().recv_timeout(PATIENCE);
        self.in_time.store(used.is_ok().into(), Ordering::Relaxed);
    }
}

#[test]
fn unread_messages_are_dropped_while_the_link_can_be_used() {
    let mut listener = listen("inproc:slow").unwrap();
    let mut tx = connect("inproc:slow").unwrap();
    let rx = listener.accept().unwrap();
    let (ending, ends) = mpsc::channel();
    let (use_link, used) = mpsc::channel();
    let in_time = Arc::default();
    let slow = Slow {
        ending,
        used: Mutex::new(used),
        in_time: Arc::clone(&in_time),
    };
    tx.send(&Message::from(Buffer::from_owner(slow))).unwrap();
    thread::scope(|scope| {
        scope.spawn(move || drop(rx));
        ends.recv().unwrap();
        assert!(tx.send(&message(1)).is_err());
        // The bytes may have ended without it.
        let _ = use_link.send(());
    });
    assert_eq!(in_time.load(Ordering::Relaxed), 1);
}
