//! A message stays in the folder until it is acknowledged.

use std::thread;
use std::time::Duration;

use numpush::transfer::{Acknowledge, Tag};
use numpush::{Connection, Error, Options};
use numpush_tests::bytes;

use crate::{Place, accept, accept_now, drain, patient};

/// Small messages are removed, and the files of large ones are given back.
const LENGTHS: [usize; 2] = [1000, 1 << 20];

fn by_hand() -> Options {
    patient().acknowledge(Acknowledge::OnConfirm)
}

/// A folder with three messages whose sender is gone.
fn left(name: &str, len: usize) -> Place {
    let place = Place::new(name);
    let mut connection = place.connect();
    for seed in 1..=3 {
        connection.send(&bytes(len, seed)).unwrap();
    }
    place
}

/// The one connection in the folder, for a listener of its own.
fn take(place: &Place, options: &Options) -> Connection {
    let mut listener = options.listen(&place.endpoint()).unwrap();
    accept(&mut listener)
}

fn rest(place: &Place) -> Vec<u8> {
    let (seeds, error) = drain(&mut take(place, &patient()));
    assert!(error.is_closed(), "{error:?}");
    place.is_empty_after_a_sweep("rest");
    seeds
}

#[test]
fn what_was_not_confirmed_comes_again() {
    for len in LENGTHS {
        let place = left("confirmed", len);
        let mut connection = take(&place, &by_hand());
        assert_eq!(connection.recv().unwrap().confirm(), bytes(len, 1));
        let second = connection.recv().unwrap();
        assert_eq!((second.id, second.message), (2, bytes(len, 2)));
        drop(connection);
        assert_eq!(rest(&place), [2, 3]);
    }
}

#[test]
fn a_message_that_is_not_confirmed_holds_back_those_after_it() {
    for len in LENGTHS {
        let place = left("held-back", len);
        let mut connection = take(&place, &by_hand());
        let first = connection.recv().unwrap();
        connection.recv().unwrap().confirm();
        connection.recv().unwrap().confirm();
        drop(connection);
        // Another listener may have it by now.
        first.confirm();
        assert_eq!(rest(&place), [1, 2, 3]);
        let place = left("in-disorder", len);
        let mut connection = take(&place, &by_hand());
        let first = connection.recv().unwrap();
        connection.recv().unwrap().confirm();
        first.confirm();
        drop(connection);
        assert_eq!(rest(&place), [3]);
    }
}

#[test]
fn a_message_is_acknowledged_at_the_next_call() {
    let options = patient().acknowledge(Acknowledge::OnNextCall);
    for len in LENGTHS {
        let place = left("next-call", len);
        let mut connection = take(&place, &options);
        connection.recv().unwrap();
        connection.recv().unwrap();
        drop(connection);
        assert_eq!(rest(&place), [2, 3]);
        let place = left("closed", len);
        let mut connection = take(&place, &options);
        connection.recv().unwrap();
        connection.close().unwrap();
        assert_eq!(rest(&place), [2, 3]);
    }
}

/// Else it would receive, and give up, the same message for ever.
#[test]
fn a_listener_does_not_accept_again_what_it_has_given_up() {
    let place = left("given-up", 1000);
    let mut listener = by_hand().listen(&place.endpoint()).unwrap();
    let mut connection = accept(&mut listener);
    connection.recv().unwrap();
    drop(connection);
    assert!(accept_now(&mut listener).is_none());
    drop(listener);
    assert_eq!(rest(&place), [1, 2, 3]);
}

#[test]
fn the_sender_waits_for_what_another_thread_confirms() {
    let place = Place::new("other-thread");
    let mut listener = by_hand().listen(&place.endpoint()).unwrap();
    let mut near = patient().connect(&place.endpoint()).unwrap();
    near.send(&bytes(1000, 1)).unwrap();
    let mut far = accept(&mut listener);
    let received = far.recv().unwrap();
    near.set_timeouts(Some(Duration::from_millis(50)), None);
    let error = near.flush().unwrap_err();
    assert!(error.is_timeout(), "{error:?}");
    near.set_timeouts(Some(numpush_tests::PATIENCE), None);
    let waiting = thread::spawn(move || far.recv().map(drop).unwrap_err());
    let confirming = thread::spawn(move || received.confirm());
    near.flush().unwrap();
    assert_eq!(confirming.join().unwrap(), bytes(1000, 1));
    drop(near);
    assert!(waiting.join().unwrap().is_closed());
}

#[test]
fn a_sender_that_lives_learns_of_a_message_that_was_not_confirmed() {
    let place = Place::new("not-confirmed");
    let mut listener = by_hand().listen(&place.endpoint()).unwrap();
    let mut near = patient().connect(&place.endpoint()).unwrap();
    near.send(&bytes(1000, 1)).unwrap();
    let mut far = accept(&mut listener);
    let received = far.recv().unwrap();
    drop(far);
    let error = near.flush().unwrap_err();
    assert!(matches!(error, Error::Disconnected { .. }), "{error:?}");
    received.confirm();
    drop(near);
    drop(listener);
    place.is_empty_after_a_sweep("not confirmed");
}

#[test]
fn answers_and_channels_go_through_a_folder() {
    let place = Place::new("tags");
    let mut listener = patient().listen(&place.endpoint()).unwrap();
    let mut near = patient().connect(&place.endpoint()).unwrap();
    near.send(&bytes(10, 1)).unwrap();
    let tag = Tag {
        channel: 7,
        ..Tag::default()
    };
    let question = near.send_tagged(&bytes(10, 2), tag).unwrap();
    let mut far = accept(&mut listener);
    far.recv().unwrap();
    let received = far.recv().unwrap();
    assert_eq!((question.id, received.id, received.channel), (2, 2, 7));
    far.send_tagged(&received.message, received.reply_tag())
        .unwrap();
    let answer = near.recv().unwrap();
    assert_eq!((answer.id, answer.reply_to, answer.channel), (1, 2, 7));
}

/// A file of one message has no number, and keeps the channel.
#[test]
fn a_file_of_one_message_keeps_its_tag() {
    let place = Place::new("one-tag");
    let endpoint = format!("file:{}", place.path().display());
    let tag = Tag {
        channel: 9,
        ..Tag::default()
    };
    let mut near = patient().connect(&endpoint).unwrap();
    near.send_tagged(&bytes(10, 1), tag).unwrap();
    let received = patient().connect(&endpoint).unwrap().recv().unwrap();
    assert_eq!((received.id, received.channel), (0, 9));
}
