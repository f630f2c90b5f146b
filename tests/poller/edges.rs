//! What a look must not leave behind, and waits that must end.

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

use numpush::poller::{Event, Key};
use numpush::wire::{Hello, Preamble, RecordKind};
use numpush::{Error, Listener, Options, Poller};
use numpush_tests::{PATIENCE, bytes, record};

use crate::{MOMENT, join, listeners_of, next};

/// A peer in a poller that writes what it likes.
fn raw(options: &Options) -> (TcpStream, Poller, Key, Listener) {
    let mut listener = options.listen("tcp://127.0.0.1:0").unwrap();
    let mut raw = TcpStream::connect(listener.address().replace("tcp://", "")).unwrap();
    raw.write_all(&Hello::new(1 << 30).encode()).unwrap();
    let mut poller = Poller::new().unwrap();
    let key = poller.add(listener.accept_for(PATIENCE).unwrap()).unwrap();
    assert!(poller.wait(MOMENT).unwrap().is_none());
    (raw, poller, key, listener)
}

/// A look that took in as many records as one look may left the message behind them, which was read already.
#[test]
fn a_message_behind_many_control_records_comes() {
    for count in [250, 256, 300, 1000] {
        let (mut raw, mut poller, _, _listener) = raw(&Options::new());
        let pong = Preamble::control(RecordKind::Pong, 0, 0).encode(&[]);
        let mut all = pong.repeat(count);
        all.extend(record(&bytes(10, 1), 1));
        raw.write_all(&all).unwrap();
        assert!(
            matches!(next(&mut poller), Event::Message { .. }),
            "{count}"
        );
    }
}

/// A send reads acknowledgements, and with them what comes behind: the end of the peer's messages was never reported.
#[test]
fn an_end_that_a_send_has_read_is_reported() {
    for (mut listener, _place) in listeners_of(&["tcp", "unix", "inproc"], &Options::new()) {
        let mut poller = Poller::new().unwrap();
        let (mut near, key) = join(&mut poller, &mut listener);
        for _ in 0..64 {
            poller.send(key, &bytes(10, 1)).unwrap();
        }
        near.close_sending().unwrap();
        for _ in 0..64 {
            poller.send(key, &bytes(10, 1)).unwrap();
        }
        assert!(matches!(next(&mut poller), Event::Closed { .. }));
    }
}

/// The kernel would give up after 15 minutes.
#[test]
fn a_network_that_is_cut_is_found() {
    let options = Options::new().patience(Duration::from_secs(1));
    let mut listener = options.listen("tcp://127.0.0.1:0").unwrap();
    let mut poller = Poller::new().unwrap();
    let (near, key) = join(&mut poller, &mut listener);
    assert!(poller.wait(MOMENT).unwrap().is_none());
    numpush_os::cut_off(near.descriptor().unwrap()).unwrap();
    poller.send(key, &bytes(10, 1)).unwrap();
    let Event::Ended {
        error: Some(Error::Disconnected { .. }),
        ..
    } = next(&mut poller)
    else {
        panic!("no end");
    };
}

/// Each message to the peer gave it more time for its own.
#[test]
fn a_peer_that_stalls_is_given_up_though_it_is_spoken_to() {
    let options = Options::new().patience(Duration::from_millis(400));
    let (mut raw, mut poller, key, _listener) = raw(&options);
    raw.write_all(&record(&bytes(1000, 1), 1)[..100]).unwrap();
    for _ in 0..1000 {
        let _ = poller.send(key, &bytes(10, 1));
        match poller.wait(MOMENT / 2).unwrap() {
            None => {}
            Some(Event::Ended { error, .. }) => {
                assert!(matches!(error, Some(Error::Stalled { .. })), "{error:?}");
                return;
            }
            Some(event) => panic!("{event:?}"),
        }
    }
    panic!("it was never given up");
}

/// It stayed in the poller, and nothing more was heard of it.
#[test]
fn a_peer_that_takes_nothing_more_has_ended() {
    for (mut listener, _place) in listeners_of(&["unix"], &Options::new()) {
        let mut poller = Poller::new().unwrap();
        let (near, key) = join(&mut poller, &mut listener);
        let deaf = near.descriptor().unwrap();
        let socket =
            std::os::unix::net::UnixStream::from(deaf.as_fd().try_clone_to_owned().unwrap());
        socket.shutdown(Shutdown::Read).unwrap();
        let error = poller.send(key, &bytes(10, 1)).unwrap_err();
        assert!(!error.is_recoverable(), "{error:?}");
        assert!(matches!(next(&mut poller), Event::Ended { .. }));
        assert!(poller.is_empty());
    }
}

/// A send reads too, and counted the time of the program against the peer.
#[test]
fn a_peer_is_not_late_because_the_program_sends_late() {
    let patience = Duration::from_secs(3);
    let (mut raw, mut poller, key, _listener) = raw(&Options::new().patience(patience));
    let record = record(&bytes(1000, 1), 1);
    raw.write_all(&record[..100]).unwrap();
    assert!(poller.wait(MOMENT).unwrap().is_none());
    // The first of them may begin, and the others wait behind it.
    poller.set_queue_limit(1 << 30);
    let large = bytes(100 << 20, 1);
    for _ in 0..4 {
        poller.send(key, &large).unwrap();
    }
    std::thread::sleep(patience + MOMENT);
    for _ in 0..200 {
        poller.send(key, &bytes(10, 1)).unwrap();
    }
    raw.write_all(&record[100..]).unwrap();
    assert!(matches!(next(&mut poller), Event::Message { .. }));
}
