//! What only links inside a process do.
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod room;

use std::io::{ErrorKind, Read as _};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use numpush_message::{Array, Buffer, Dtype, Element as _, Field, Message, RecordType};
use numpush_transports::{Acknowledge, Error, Options, Refusal, Tag, connect, listen};

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

/// Messages without a byte of payload take memory too.
#[test]
fn empty_messages_wait_for_credit() {
    let credit = 1 << 16;
    let mut listener = Options::new()
        .credit(credit)
        .listen("inproc:credit")
        .unwrap();
    let mut tx = connect("inproc:credit").unwrap();
    let mut rx = listener.accept().unwrap();
    let empty = || Message::from(Buffer::from(Vec::new()));
    let mut sent = 0;
    while tx.try_send(&empty()).is_ok() {
        sent += 1;
        assert!(sent < credit, "nothing holds them back");
    }
    assert_eq!(tx.status().in_flight as u64, sent);
    assert!(tx.status().credit < 1024);
    assert_eq!(rx.status().waiting as u64, sent);
    // Those that were taken together give room back one by one.
    rx.recv().unwrap();
    tx.try_send(&empty()).unwrap();
    assert!(tx.try_send(&empty()).unwrap_err().is_timeout());
    // One message may always come, however large.
    while rx.try_recv().is_ok() {}
    tx.try_send(&Message::from(Buffer::from(vec![1; 1 << 17])))
        .unwrap();
    assert_eq!(tx.status().credit, 0);
}

fn is_readable(link: &numpush_transports::Connection) -> bool {
    let descriptor = link.descriptor().unwrap();
    numpush_os::wait(&[(descriptor, link.wants())], Some(Instant::now())).unwrap()[0].read
}

#[test]
fn the_descriptor_is_readable_while_there_is_something_to_receive() {
    let mut listener = listen("inproc:descriptor").unwrap();
    let mut tx = connect("inproc:descriptor").unwrap();
    let mut rx = listener.accept().unwrap();
    tx.send(&message(1)).unwrap();
    assert!(is_readable(&rx), "a message that came before");
    rx.recv().unwrap();
    assert!(rx.try_recv().unwrap_err().is_timeout());
    assert!(!is_readable(&rx));
    for byte in [2, 3] {
        tx.send(&message(byte)).unwrap();
    }
    for byte in [2, 3] {
        assert!(is_readable(&rx));
        assert_eq!(rx.try_recv().unwrap().message, message(byte));
    }
    assert!(rx.try_recv().unwrap_err().is_timeout());
    assert!(!is_readable(&rx));
    drop(tx);
    assert!(is_readable(&rx), "the end of the peer");
    assert!(rx.try_recv().unwrap_err().is_closed());
}

/// How often the descriptor was written to since the last look: eventfd(2) counts.
fn wakes(link: &numpush_transports::Connection) -> u64 {
    let descriptor = link.descriptor().unwrap().try_clone_to_owned().unwrap();
    let mut count = [0; 8];
    match std::fs::File::from(descriptor).read_exact(&mut count) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
        read => read.map(|()| u64::from_ne_bytes(count)).unwrap(),
    }
}

/// M13: a send made a wake-up, which is a system call, whether or not the receiver had heard of the last one.
#[test]
fn a_receiver_is_woken_once_until_it_looks() {
    let mut listener = listen("inproc:wakes").unwrap();
    let mut tx = connect("inproc:wakes").unwrap();
    let mut rx = listener.accept().unwrap();
    for burst in [1, 100, 1, 3] {
        assert!(rx.try_recv().unwrap_err().is_timeout());
        wakes(&rx);
        for byte in 0..burst {
            tx.send(&message(byte)).unwrap();
        }
        assert_eq!(wakes(&rx), 1, "{burst} messages");
        for byte in 0..burst {
            assert_eq!(rx.try_recv().unwrap().message, message(byte));
        }
        assert_eq!(wakes(&rx), 0);
    }
}

#[test]
fn the_descriptor_is_readable_when_there_is_room_again() {
    let mut listener = Options::new()
        .credit(1)
        .listen("inproc:room-again")
        .unwrap();
    let mut tx = connect("inproc:room-again").unwrap();
    let mut rx = listener.accept().unwrap();
    tx.try_send(&message(1)).unwrap();
    assert!(is_readable(&tx), "a descriptor that was just made");
    assert!(tx.try_send(&message(2)).unwrap_err().is_timeout());
    assert!(!is_readable(&tx));
    rx.recv().unwrap();
    // Whether something has come is asked first, which must not hide the room.
    assert!(tx.try_recv().unwrap_err().is_timeout());
    assert!(is_readable(&tx));
    tx.try_send(&message(2)).unwrap();
    assert!(tx.try_recv().unwrap_err().is_timeout());
    assert!(!is_readable(&tx));
}

#[test]
fn a_descriptor_that_is_made_late_is_readable_all_the_same() {
    let mut listener = Options::new().credit(1).listen("inproc:late").unwrap();
    let mut tx = connect("inproc:late").unwrap();
    let mut rx = listener.accept().unwrap();
    tx.try_send(&message(1)).unwrap();
    assert!(tx.try_send(&message(2)).unwrap_err().is_timeout());
    rx.recv().unwrap();
    // There is room since before the descriptor was asked for.
    assert!(is_readable(&tx));
    tx.try_send(&message(2)).unwrap();
}

#[test]
fn who_is_gone_makes_the_descriptor_readable_once() {
    let mut listener = Options::new().credit(1).listen("inproc:once").unwrap();
    let mut tx = connect("inproc:once").unwrap();
    let mut rx = listener.accept().unwrap();
    rx.close_sending().unwrap();
    assert!(is_readable(&tx));
    assert!(tx.try_recv().unwrap_err().is_closed());
    assert!(!is_readable(&tx), "the end was told");
    tx.try_send(&message(1)).unwrap();
    assert!(tx.try_send(&message(2)).unwrap_err().is_timeout());
    assert!(!is_readable(&tx));
    drop(rx);
    assert!(is_readable(&tx), "nobody will take it");
    assert!(matches!(
        tx.try_send(&message(2)),
        Err(Error::Disconnected { .. })
    ));
}

#[test]
fn a_half_that_flushes_acknowledges_nothing_for_the_other() {
    let options = Options::new().acknowledge(Acknowledge::OnNextCall);
    let mut listener = options.listen("inproc:halves").unwrap();
    let mut tx = connect("inproc:halves").unwrap();
    let (mut answers, mut work) = listener.accept().unwrap().split().unwrap();
    tx.send(&message(1)).unwrap();
    work.recv().unwrap();
    answers.flush().unwrap();
    assert_eq!(tx.status().in_flight, 1, "its work is not done");
    answers.close().unwrap();
    assert_eq!(tx.status().in_flight, 1);
}

/// The receiver panicked: it could not write the header that the sender had not tried to write.
#[test]
fn an_array_whose_header_breaks_a_limit_is_refused() {
    let fields = (0..256).map(|at| Field::new(format!("{at:0>1000}"), f64::SCALAR, at * 8));
    let record = RecordType::new(fields.collect(), 256 * 8).unwrap();
    let array = Array::new(Dtype::Record(record), &[1], vec![0_u8; 256 * 8].into()).unwrap();
    let _listener = listen("inproc:header").unwrap();
    let mut tx = connect("inproc:header").unwrap();
    let error = tx.send(&Message::from(array)).unwrap_err();
    assert!(matches!(error, Error::Message(_)), "{error:?}");
}

#[test]
fn what_is_not_confirmed_is_not_flushed() {
    let options = Options::new().acknowledge(Acknowledge::OnConfirm);
    let mut listener = options.listen("inproc:confirm").unwrap();
    let mut tx = connect("inproc:confirm").unwrap();
    let mut rx = listener.accept().unwrap();
    for byte in [1, 2] {
        tx.send(&message(byte)).unwrap();
    }
    let (first, second) = (rx.recv().unwrap(), rx.recv().unwrap());
    assert_eq!((first.id, second.id), (1, 2));
    tx.set_timeouts(Some(Duration::ZERO), None);
    second.confirm();
    assert_eq!(tx.status().in_flight, 2);
    assert!(tx.flush().unwrap_err().is_timeout());
    assert_eq!(first.confirm(), message(1));
    tx.flush().unwrap();
    tx.send(&message(3)).unwrap();
    let third = rx.recv().unwrap();
    drop(rx);
    third.confirm();
    let error = tx.flush().unwrap_err();
    assert!(matches!(error, Error::Disconnected { .. }), "{error:?}");
}

#[test]
fn answers_and_channels_are_handed_over() {
    let mut listener = listen("inproc:tags").unwrap();
    let mut near = connect("inproc:tags").unwrap();
    let mut far = listener.accept().unwrap();
    let tag = Tag {
        channel: 5,
        ..Tag::default()
    };
    near.send(&message(1)).unwrap();
    let question = near.send_tagged(&message(2), tag).unwrap();
    far.recv().unwrap();
    let received = far.recv().unwrap();
    assert_eq!((question.id, received.id, received.channel), (2, 2, 5));
    far.send_tagged(&received.message, received.reply_tag())
        .unwrap();
    let answer = near.recv().unwrap();
    assert_eq!((answer.reply_to, answer.channel), (2, 5));
}
