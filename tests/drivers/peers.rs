//! Peers that flood, drip or stall.

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use numpush::wire::{Hello, Preamble, RecordKind};
use numpush::{Connection, Error, Listener, Options};
use numpush_tests::{PATIENCE, bytes, record};

/// A peer that says hello and then what it likes, and our connection with it.
fn raw(options: &Options) -> (TcpStream, Connection, Listener) {
    let mut listener = options.listen("tcp://127.0.0.1:0").unwrap();
    let mut raw = TcpStream::connect(listener.address().replace("tcp://", "")).unwrap();
    raw.write_all(&Hello::new(1 << 30).encode()).unwrap();
    let mut link = listener.accept_for(PATIENCE).unwrap();
    link.set_timeouts(Some(PATIENCE), Some(PATIENCE));
    (raw, link, listener)
}

/// C4: while we flushed, a peer that wrote and never read filled our memory.
#[test]
fn a_flood_ends_at_the_credit_of_the_peer() {
    let (mut raw, mut link, _listener) = raw(&Options::new().credit(1 << 20));
    link.send(&bytes(10, 1)).unwrap();
    let flood = std::thread::spawn(move || {
        for id in 1.. {
            if raw.write_all(&record(&bytes(400 << 10, 1), id)).is_err() {
                return;
            }
        }
    });
    let error = link.flush().unwrap_err();
    assert!(matches!(error, Error::OverCredit { .. }), "{error:?}");
    assert!(link.status().waiting_bytes <= 1 << 20);
    drop(link);
    flood.join().unwrap();
}

/// M1: one byte now and then, and the time that a record may take was never looked at.
#[test]
fn a_peer_that_drips_is_given_up() {
    let options = Options::new().patience(Duration::from_millis(200));
    let (mut raw, mut link, _listener) = raw(&options);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for byte in record(&bytes(10_000, 1), 1) {
                if done.load(Ordering::Relaxed) || raw.write_all(&[byte]).is_err() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        let error = link.recv().unwrap_err();
        done.store(true, Ordering::Relaxed);
        assert!(matches!(error, Error::Stalled { .. }), "{error:?}");
    });
}

/// What a peer sent in time is not late because the program looked late.
#[test]
fn the_time_of_the_program_is_not_the_peers() {
    let patience = Duration::from_millis(500);
    let (mut raw, mut link, _listener) = raw(&Options::new().patience(patience));
    let record = record(&bytes(1000, 1), 1);
    let (first, rest) = record.split_at(100);
    raw.write_all(first).unwrap();
    numpush_tests::eventually("the first bytes are read", || {
        let error = link.try_recv().map(drop).unwrap_err();
        assert!(error.is_timeout(), "{error:?}");
        link.status().waiting_bytes > 0
    });
    raw.write_all(rest).unwrap();
    std::thread::sleep(2 * patience);
    assert!(link.recv().unwrap().message == bytes(1000, 1));
}

/// A peer that keeps the socket full, and sends no message, hid the deadline of every call.
#[test]
fn a_flood_of_pings_hides_no_deadline() {
    let (raw, mut link, _listener) = raw(&Options::new());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let pings = Preamble::control(RecordKind::Ping, 0, 1)
                .encode(&[])
                .repeat(1000);
            while !done.load(Ordering::Relaxed) {
                if (&raw).write_all(&pings).is_err() {
                    return;
                }
            }
        });
        // Nobody reads the answers, so they pile up, within a bound.
        link.set_timeouts(Some(crate::MOMENT), Some(crate::MOMENT));
        for _ in 0..3 {
            let error = link.recv().map(drop).unwrap_err();
            assert!(error.is_timeout(), "{error:?}");
        }
        assert!(link.status().unwritten <= 1 << 20);
        link.send(&bytes(10, 1)).unwrap_or_default();
        let error = link.flush().unwrap_err();
        assert!(error.is_timeout(), "{error:?}");
        done.store(true, Ordering::Relaxed);
        let _ = raw.shutdown(std::net::Shutdown::Both);
    });
}

/// After a fault of the peer `close` said that everything had arrived.
#[test]
fn close_is_an_error_if_a_message_was_never_acknowledged() {
    let (mut raw, mut link, _listener) = raw(&Options::new());
    link.send(&bytes(10, 1)).unwrap();
    raw.write_all(&record(&bytes(10, 1), 7)).unwrap();
    let error = link.recv().unwrap_err();
    assert!(
        matches!(error, Error::ProtocolViolation { .. }),
        "{error:?}"
    );
    link.close().unwrap_err();
}
