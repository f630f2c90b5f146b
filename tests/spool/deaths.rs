//! A process dies before each system call of the spool, one run each. Whatever was sent is received once or stays, and the
//! next listener leaves nothing in the folder.

use std::io::Read as _;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};

use numpush::Error;
use numpush::transfer::Acknowledge;
use numpush_os::{kill_nth, passed_points};
use numpush_tests::{Peer, again, bytes, eventually, say};

use crate::{Place, accept, accept_now, drain, patient};

const ROLE: &str = "NUMPUSH_TEST_SPOOL";
const MESSAGES: u8 = 3;
/// Bytes of a message, whose file is given back. The seed is its first byte.
const LEN: usize = 1 << 20;

/// The process that dies before its call after `before` others.
#[test]
fn victim() {
    let Ok(words) = std::env::var(ROLE) else {
        return;
    };
    let [role, before, endpoint]: [&str; 3] =
        words.splitn(3, ' ').collect::<Vec<_>>().try_into().unwrap();
    kill_nth(before.parse().unwrap());
    match role {
        "sender" | "flusher" => {
            let mut connection = patient().connect(endpoint).unwrap();
            for seed in 1..=MESSAGES {
                connection.send(&bytes(LEN, seed)).unwrap();
                say("sent", seed);
                if role == "flusher" {
                    connection.flush().unwrap();
                }
            }
        }
        "silent" => {
            let _connection = patient().connect(endpoint).unwrap();
            say("here", "");
            std::io::stdin().read_line(&mut String::new()).unwrap();
        }
        "receiver" => {
            let mut listener = patient().listen(endpoint).unwrap();
            let mut connection = accept(&mut listener);
            for seed in 1..=MESSAGES {
                assert_eq!(connection.recv().unwrap().message, bytes(LEN, seed));
                say("got", seed);
            }
        }
        // Whatever is done with a message is done before it is confirmed.
        "keeper" => {
            let options = patient().acknowledge(Acknowledge::OnConfirm);
            let mut listener = options.listen(endpoint).unwrap();
            let mut connection = accept(&mut listener);
            for seed in 1..=MESSAGES {
                let received = connection.recv().unwrap();
                say("got", seed);
                assert_eq!(received.confirm(), bytes(LEN, seed));
            }
        }
        role => panic!("{role:?}"),
    }
    say("passed", passed_points().unwrap());
}

/// What the victim said before it died.
struct Said {
    /// How many messages were sent, or received.
    count: u8,
    /// It had fewer calls than it was to make before its death.
    lived: bool,
}

fn run(role: &str, before: usize, place: &Place) -> Said {
    let mut command = again("deaths::victim");
    command.env(ROLE, format!("{role} {before} {}", place.endpoint()));
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut text = String::new();
    let mut output = child.stdout.take().unwrap();
    output.read_to_string(&mut text).unwrap();
    let lived = child.wait().unwrap().success();
    assert!(!text.contains("panicked"), "{role} {before}: {text}");
    let word = if matches!(role, "receiver" | "keeper") {
        "got: "
    } else {
        "sent: "
    };
    let count = text.lines().filter(|line| line.starts_with(word)).count();
    Said {
        count: u8::try_from(count).unwrap(),
        lived,
    }
}

/// What send returned has come; of the next one nobody knows.
fn is_what_was_sent(got: &[u8], said: &Said, what: &str) {
    let all: Vec<u8> = (1..=MESSAGES).collect();
    let least = usize::from(said.count);
    assert!(
        got.len() >= least && got.len() <= least + 1,
        "{what}: {got:?}"
    );
    assert_eq!(got, &all[..got.len()], "{what}");
}

/// Runs `check` after each death, until the victim has no such call.
fn every_call(role: &str, mut check: impl FnMut(&str, usize) -> bool) {
    let deaths = (0..).find(|&before| check(role, before)).unwrap();
    assert!(deaths > 20, "only {deaths} deaths");
    println!("{role}: {deaths} deaths");
}

#[test]
fn a_sender_dies_before_every_call() {
    every_call("sender", |role, before| {
        let place = Place::new("sender-dies");
        let said = run(role, before, &place);
        let what = format!("{role} {before}");
        let mut got = Vec::new();
        let mut listener = place.listen();
        while let Some(mut connection) = accept_now(&mut listener) {
            let (seeds, error) = drain(&mut connection);
            let good = matches!(error, Error::Closed { .. }) || !said.lived;
            assert!(
                good && matches!(error, Error::Closed { .. } | Error::Disconnected { .. }),
                "{what}: {error:?}"
            );
            got.extend(seeds);
        }
        is_what_was_sent(&got, &said, &what);
        drop(listener);
        place.is_empty_after_a_sweep(&what);
        said.lived
    });
}

/// The sender writes over files that the receiver has given back.
#[test]
fn a_sender_dies_while_its_receiver_reads() {
    every_call("flusher", |role, before| {
        let place = Place::new("flusher-dies");
        let what = format!("{role} {before}");
        let ended = AtomicBool::new(false);
        let mut listener = place.listen();
        let (said, got) = std::thread::scope(|scope| {
            let receiver = scope.spawn(|| {
                let mut got = Vec::new();
                loop {
                    // Whatever it sent before its end is there when the end is seen.
                    let last = ended.load(Ordering::SeqCst);
                    while let Some(mut connection) = accept_now(&mut listener) {
                        got.extend(drain(&mut connection).0);
                    }
                    if last {
                        return got;
                    }
                }
            });
            let said = run(role, before, &place);
            ended.store(true, Ordering::SeqCst);
            (said, receiver.join().unwrap())
        });
        is_what_was_sent(&got, &said, &what);
        drop(listener);
        place.is_empty_after_a_sweep(&what);
        said.lived
    });
}

#[test]
fn a_receiver_dies_before_every_call_and_the_next_one_goes_on() {
    // The dead one may have had one more message in its hands.
    every_receiver("receiver", |next, from| from == next || from == next + 1);
}

/// Without a confirmation the message that the dead one had in its hands was lost.
#[test]
fn a_receiver_that_confirms_dies_before_every_call_and_no_message_is_lost() {
    // The last one that it had got may not have been confirmed.
    every_receiver("keeper", |next, from| from == next || from + 1 == next);
}

/// Receivers die before every call, and the next one gets the rest: `may_begin` is given the first number that the dead one
/// has not told of, and the first that came.
fn every_receiver(role: &str, may_begin: impl Fn(u8, u8) -> bool) {
    every_call(role, |role, before| {
        let place = Place::new(&format!("{role}-dies"));
        let mut connection = place.connect();
        for seed in 1..=MESSAGES {
            connection.send(&bytes(LEN, seed)).unwrap();
        }
        drop(connection);
        let said = run(role, before, &place);
        let what = format!("{role} {before}");
        let mut listener = place.listen();
        let mut rest = Vec::new();
        while let Some(mut connection) = accept_now(&mut listener) {
            let (seeds, error) = drain(&mut connection);
            assert!(error.is_closed(), "{what}: {error:?}");
            rest.extend(seeds);
        }
        let next = said.count + 1;
        let from = rest.first().copied().unwrap_or(MESSAGES + 1);
        assert!(may_begin(next, from), "{what}: {rest:?}");
        assert_eq!(rest, (from..=MESSAGES).collect::<Vec<_>>(), "{what}");
        drop(listener);
        place.is_empty_after_a_sweep(&what);
        said.lived
    });
}

#[test]
fn a_sender_that_lives_learns_of_each_death_of_its_receiver() {
    every_call("receiver", |role, before| {
        let place = Place::new("receiver-gone");
        let mut connection = patient().connect(&place.endpoint()).unwrap();
        for seed in 1..=MESSAGES {
            connection.send(&bytes(LEN, seed)).unwrap();
        }
        let said = run(role, before, &place);
        let what = format!("{role} {before}");
        let mut listener = place.listen();
        if let Some(mut accepted) = accept_now(&mut listener) {
            // Nobody had accepted it.
            assert_eq!(said.count, 0, "{what}");
            drop(connection);
            let (seeds, error) = drain(&mut accepted);
            assert_eq!(seeds, (1..=MESSAGES).collect::<Vec<_>>(), "{what}");
            assert!(error.is_closed(), "{what}: {error:?}");
        } else {
            let flushed = connection.flush();
            match &flushed {
                Ok(()) => assert!(said.count + 1 >= MESSAGES, "{what}"),
                Err(Error::Disconnected { .. }) => assert!(said.count < MESSAGES, "{what}"),
                Err(error) => panic!("{what}: {error:?}"),
            }
            drop(connection);
            // Its user was told, and may have sent the messages again.
            assert!(accept_now(&mut listener).is_none(), "{what}");
        }
        drop(listener);
        place.is_empty_after_a_sweep(&what);
        said.lived
    });
}

/// Each call is over before it would ask whether the peer lives.
#[test]
fn calls_that_do_not_wait_see_a_death_too() {
    let place = Place::new("polled");
    let mut listener = place.listen();
    let mut command = again("deaths::victim");
    command.env(ROLE, format!("silent {} {}", usize::MAX, place.endpoint()));
    let mut peer = Peer::start(&mut command);
    peer.hears("here");
    let mut connection = accept(&mut listener);
    assert!(connection.try_recv().unwrap_err().is_timeout());
    peer.kill();
    eventually("the end of a connection", || {
        let error = connection.try_recv().unwrap_err();
        assert!(
            error.is_timeout() || matches!(error, Error::Disconnected { .. }),
            "{error:?}"
        );
        !error.is_timeout()
    });
}
