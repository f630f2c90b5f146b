//! A fork of a process that has connections: the child can use none of them, and ends none.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use numpush::{Connection, Error, Listener, Options};
use numpush_tests::{Forked, PATIENCE, Peer, TempPath, again, bytes};

use crate::{Pair, plain_pairs};

const ROLE: &str = "NUMPUSH_TEST_DRIVERS_FORKS";

fn is_refused<T>(result: Result<T, Error>) -> bool {
    matches!(result, Err(Error::Forked { .. }))
}

fn all_is_refused(mut connection: Connection) -> bool {
    is_refused(connection.send(&bytes(10, 2)))
        && is_refused(connection.try_send(&bytes(10, 2)))
        && is_refused(connection.recv())
        && is_refused(connection.try_recv())
        && is_refused(connection.flush())
        && is_refused(connection.close_sending())
        && is_refused(connection.canceller())
        && is_refused(connection.split())
}

/// What a child sent went into the middle of what its parent sent.
#[test]
fn a_child_sends_nothing_on_a_connection_of_its_parent() {
    // In a process of its own: a fork of this one would copy the locks of other tests.
    if std::env::var_os(ROLE).is_none() {
        let mut command = again("forks::a_child_sends_nothing_on_a_connection_of_its_parent");
        return Peer::start(command.env(ROLE, "1")).ends_well();
    }
    for Pair {
        near,
        mut far,
        _listener,
    } in plain_pairs()
    {
        let mut near = Some(near);
        near.as_mut().unwrap().send(&bytes(10, 1)).unwrap();
        let child = Forked::start(|| all_is_refused(near.take().unwrap()));
        assert_eq!(child.exit_code(), Some(0));
        let mut near = near.unwrap();
        near.send(&bytes(10, 3)).unwrap();
        for seed in [1, 3] {
            assert_eq!(far.recv().unwrap().message, bytes(10, seed));
        }
        let (mut tx, mut rx) = near.split().unwrap();
        let child = Forked::start(|| {
            is_refused(tx.send(&bytes(10, 2)))
                && is_refused(tx.flush())
                && is_refused(tx.close())
                && is_refused(rx.recv())
        });
        assert_eq!(child.exit_code(), Some(0));
        far.send(&bytes(10, 4)).unwrap();
        assert_eq!(rx.recv().unwrap().message, bytes(10, 4));
    }
}

/// Accepts a connection and sends a message on it.
fn accepts_and_sends(listener: &mut Listener) -> bool {
    let accepted = listener.accept_for(PATIENCE);
    accepted.is_ok_and(|mut link| link.send(&bytes(10, 2)).is_ok())
}

/// Connects to a child that does that.
fn is_served_by(child: Forked, address: &str) {
    let mut near = numpush::connect(address).unwrap();
    assert_eq!(near.recv().unwrap().message, bytes(10, 2));
    assert_eq!(child.exit_code(), Some(0));
}

/// Both of them accept at one socket, as servers do that fork workers. They shared the list of what the kernel watches.
#[test]
fn a_child_accepts_beside_its_parent() {
    if std::env::var_os(ROLE).is_none() {
        let mut command = again("forks::a_child_accepts_beside_its_parent");
        return Peer::start(command.env(ROLE, "1")).ends_well();
    }
    let place = TempPath::new("prefork");
    for endpoint in ["tcp://127.0.0.1:0", &format!("unix:{}", place.0.display())] {
        let mut listener = numpush::listen(endpoint).unwrap();
        let address = listener.address();
        // Nothing but the listener is there yet.
        is_served_by(Forked::start(|| accepts_and_sends(&mut listener)), &address);
        // A handshake is under way at the fork, and stays the parent's.
        let mut first = numpush::connect(&address).unwrap();
        let _stranger = std::net::TcpStream::connect(address.replace("tcp://", ""));
        let mut parents = listener.accept_for(PATIENCE).unwrap();
        is_served_by(Forked::start(|| accepts_and_sends(&mut listener)), &address);
        let mut third = numpush::connect(&address).unwrap();
        let mut fourth = listener.accept_for(PATIENCE).unwrap();
        for (near, far) in [(&mut first, &mut parents), (&mut third, &mut fourth)] {
            near.send(&bytes(10, 3)).unwrap();
            assert_eq!(far.recv().unwrap().message, bytes(10, 3));
        }
    }
}

/// The descriptor of the listener was its parent's, and nobody woke the child.
#[test]
fn a_child_serves_at_a_listener_of_its_parent() {
    if std::env::var_os(ROLE).is_none() {
        let mut command = again("forks::a_child_serves_at_a_listener_of_its_parent");
        return Peer::start(command.env(ROLE, "1")).ends_well();
    }
    let listener = numpush::listen("tcp://127.0.0.1:0").unwrap();
    let address = listener.address();
    let mut listener = Some(listener);
    let child = Forked::start(|| {
        let served = listener.take().unwrap().serve(|request| {
            let message = request.received.message.clone();
            match request.reply(&message) {
                Ok(_) => ControlFlow::Break(()),
                Err(_) => ControlFlow::Continue(()),
            }
        });
        served.is_ok()
    });
    let mut near = numpush::connect(&address).unwrap();
    near.send(&bytes(10, 1)).unwrap();
    assert_eq!(near.recv().unwrap().message, bytes(10, 1));
    assert_eq!(child.exit_code(), Some(0));
}

/// A thread that made the first options of the process held what its child then waited for.
#[test]
fn a_child_of_a_process_that_makes_its_first_options_makes_its_own() {
    const FIRST: &str = "NUMPUSH_TEST_DRIVERS_FIRST";
    let name = "forks::a_child_of_a_process_that_makes_its_first_options_makes_its_own";
    let Ok(turn) = std::env::var(FIRST) else {
        for turn in 0..20 {
            Peer::start(again(name).env(FIRST, turn.to_string())).ends_well();
        }
        return;
    };
    let (turn, begun) = (turn.parse::<u32>().unwrap(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            begun.store(true, Ordering::Release);
            drop(Options::new());
        });
        while !begun.load(Ordering::Acquire) {
            std::hint::spin_loop();
        }
        for _ in 0..turn * 200 {
            std::hint::spin_loop();
        }
        let child = Forked::start(|| {
            drop(Options::new());
            true
        });
        assert_eq!(child.exit_code(), Some(0));
    });
}

/// The socket's file went with the child's copy of the listener.
#[test]
fn a_listener_that_a_child_drops_is_its_parents() {
    if std::env::var_os(ROLE).is_none() {
        let mut command = again("forks::a_listener_that_a_child_drops_is_its_parents");
        return Peer::start(command.env(ROLE, "1")).ends_well();
    }
    let place = TempPath::new("listener-of-a-parent");
    let endpoint = format!("unix:{}", place.0.display());
    let mut listener = Some(numpush::listen(&endpoint).unwrap());
    let child = Forked::start(|| {
        drop(listener.take());
        true
    });
    assert_eq!(child.exit_code(), Some(0));
    let mut near = numpush::connect(&endpoint).unwrap();
    let mut far = listener.unwrap().accept_for(PATIENCE).unwrap();
    near.send(&bytes(10, 1)).unwrap();
    assert_eq!(far.recv().unwrap().message, bytes(10, 1));
    drop(far);
    assert!(!place.0.exists());
}
