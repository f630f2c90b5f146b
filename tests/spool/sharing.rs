//! Several listeners and many senders in one folder.

use std::os::unix::fs::MetadataExt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use numpush::{Error, Listener};
use numpush_tests::{bytes, eventually};

use crate::{Place, accept, accept_now, drain, patient};

/// Takes connections until `done`, and gathers what comes by them.
fn serve(listener: &mut Listener, done: &AtomicBool, got: &Mutex<Vec<u8>>) {
    while !done.load(Ordering::SeqCst) {
        match listener.accept_for(Duration::from_millis(20)) {
            Ok(mut connection) => {
                let (seeds, error) = drain(&mut connection);
                assert!(error.is_closed(), "{error:?}");
                got.lock().unwrap().extend(seeds);
            }
            Err(error) => assert!(error.is_timeout(), "{error:?}"),
        }
    }
}

/// Short connections, whose two sides leave at about the same time while others look for connections: nobody takes a folder
/// that is half gone for a connection, and no sender waits for a listener that has another.
#[test]
fn listeners_share_a_folder_and_every_message_comes_once() {
    const SENDERS: u8 = 4;
    const EACH: u8 = 50;
    for listeners in [1, 2, 3] {
        let place = Place::new("shared");
        let (done, got) = (AtomicBool::new(false), Mutex::new(Vec::new()));
        drop(place.listen());
        thread::scope(|scope| {
            for _ in 0..listeners {
                scope.spawn(|| serve(&mut place.listen(), &done, &got));
            }
            let senders: Vec<_> = (0..SENDERS)
                .map(|sender| {
                    let place = &place;
                    scope.spawn(move || {
                        for turn in 0..EACH {
                            let mut connection = patient().connect(&place.endpoint()).unwrap();
                            let seed = sender * EACH + turn;
                            connection.send(&bytes(100, seed)).unwrap();
                            connection.close().unwrap();
                        }
                    })
                })
                .collect();
            senders
                .into_iter()
                .for_each(|sender| sender.join().unwrap());
            eventually("all messages", || {
                got.lock().unwrap().len() == usize::from(SENDERS * EACH)
            });
            done.store(true, Ordering::SeqCst);
        });
        let mut got = got.into_inner().unwrap();
        got.sort_unstable();
        assert_eq!(got, (0..SENDERS * EACH).collect::<Vec<_>>());
        assert_eq!(place.entries(), [""; 0], "{listeners} listeners");
    }
}

#[test]
fn two_that_leave_at_once_leave_nothing() {
    let place = Place::new("leave");
    let mut listener = place.listen();
    for turn in 0..300 {
        let connection = place.connect();
        let accepted = accept(&mut listener);
        thread::scope(|scope| {
            scope.spawn(|| drop(connection));
            scope.spawn(|| drop(accepted));
        });
        assert_eq!(place.entries(), [""; 0], "turn {turn}");
    }
}

#[test]
fn messages_that_were_not_received_stay_for_the_next_listener() {
    let place = Place::new("stay");
    let mut connection = place.connect();
    for seed in 1..=4 {
        connection.send(&bytes(100, seed)).unwrap();
    }
    let mut listener = place.listen();
    let mut first = accept(&mut listener);
    assert_eq!(first.recv().unwrap().message, bytes(100, 1));
    drop(connection);
    drop(first);
    // The same listener may go on with it too.
    let mut second = accept(&mut listener);
    assert_eq!(second.recv().unwrap().message, bytes(100, 2));
    drop((second, listener));
    let mut listener = place.listen();
    let mut third = accept(&mut listener);
    let (seeds, error) = drain(&mut third);
    assert_eq!(seeds, [3, 4]);
    assert!(error.is_closed(), "{error:?}");
    drop(third);
    assert_eq!(place.entries(), [""; 0]);
}

#[test]
fn a_connector_whose_listener_left_is_told() {
    let place = Place::new("told");
    let mut listener = place.listen();
    let mut connection = patient().connect(&place.endpoint()).unwrap();
    connection.send(&bytes(100, 1)).unwrap();
    drop(accept(&mut listener));
    let gone = |result: Result<(), Error>| {
        let error = result.unwrap_err();
        assert!(matches!(error, Error::Disconnected { .. }), "{error:?}");
    };
    gone(connection.flush());
    gone(connection.send(&bytes(100, 2)).map(drop));
    drop(connection);
    assert!(accept_now(&mut listener).is_none());
    assert_eq!(place.entries(), [""; 0]);
}

#[test]
fn a_sender_that_closes_before_anybody_looks_is_seen() {
    let place = Place::new("early");
    place.connect().close().unwrap();
    let mut listener = place.listen();
    let (seeds, error) = drain(&mut accept(&mut listener));
    assert!(seeds.is_empty() && error.is_closed(), "{error:?}");
    assert_eq!(place.entries(), [""; 0]);
}

/// A panic is no good end.
#[test]
fn a_sender_that_unwinds_has_not_closed() {
    let place = Place::new("unwinds");
    let mut listener = place.listen();
    let mut connection = place.connect();
    let mut accepted = accept(&mut listener);
    let unwound = thread::spawn(move || {
        connection.send(&bytes(100, 1)).unwrap();
        std::panic::resume_unwind(Box::new("as a panic, without its message"));
    });
    unwound.join().unwrap_err();
    let (seeds, error) = drain(&mut accepted);
    assert_eq!(seeds, [1]);
    assert!(matches!(error, Error::Disconnected { .. }), "{error:?}");
}

/// A large file goes back to its sender, which writes over it.
#[test]
fn files_are_given_back_and_written_over() {
    let place = Place::new("recycled");
    let mut listener = place.listen();
    let mut connection = patient().connect(&place.endpoint()).unwrap();
    let mut accepted = accept(&mut listener);
    let link = place.path().join(&place.entries()[0]);
    let inode = |name: &str| std::fs::metadata(link.join(name)).unwrap().ino();
    connection.send(&bytes(4 << 20, 1)).unwrap();
    let first = inode("c-1.np");
    assert_eq!(accepted.recv().unwrap().message, bytes(4 << 20, 1));
    assert_eq!(inode("c-1.free"), first);
    // Smaller, larger, and too small to be worth it.
    for (number, len) in [(2, 1 << 20), (3, 9 << 20), (4, 100)] {
        connection.send(&bytes(len, number)).unwrap();
        let is_same = inode(&format!("c-{number}.np")) == first;
        assert_eq!(is_same, len >= 1 << 20, "message {number}");
        assert_eq!(accepted.recv().unwrap().message, bytes(len, number));
    }
    drop((connection, accepted));
    assert_eq!(place.entries(), [""; 0]);
}

/// A send that waits for room has written its message, which nobody gets if the wait ends.
#[test]
fn a_send_that_times_out_leaves_nothing() {
    let place = Place::new("window");
    let mut listener = place.listen();
    let options = patient().window(1 << 20);
    let mut connection = options.connect(&place.endpoint()).unwrap();
    let mut accepted = accept(&mut listener);
    connection.send(&bytes(1 << 20, 1)).unwrap();
    let link = place.path().join(&place.entries()[0]);
    let before = std::fs::read_dir(&link).unwrap().count();
    for timeout in [0, 50] {
        connection.set_timeouts(Some(Duration::from_millis(timeout)), None);
        let error = connection.send(&bytes(1 << 20, 2)).unwrap_err();
        assert!(error.is_timeout(), "{error:?}");
        assert_eq!(std::fs::read_dir(&link).unwrap().count(), before);
    }
    assert_eq!(accepted.recv().unwrap().message, bytes(1 << 20, 1));
    connection.send(&bytes(1 << 20, 3)).unwrap();
    assert_eq!(accepted.recv().unwrap().message, bytes(1 << 20, 3));
}
