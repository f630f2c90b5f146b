//! A fork of a process that has connections: the child has none of them, whatever it does with its copies.

use numpush::Error;
use numpush_tests::{Forked, Peer, again, bytes};

use crate::{Place, accept};

const ROLE: &str = "NUMPUSH_TEST_SPOOL_FORKS";

fn has_failed<T>(result: Result<T, Error>) -> bool {
    matches!(result, Err(Error::Forked { .. }))
}

#[test]
fn a_child_that_drops_its_copies_ends_no_connection() {
    // In a process of its own: other tests of this one would leave their locked files to the child.
    if std::env::var_os(ROLE).is_none() {
        let mut command = again("forks::a_child_that_drops_its_copies_ends_no_connection");
        return Peer::start(command.env(ROLE, "1")).ends_well();
    }
    let place = Place::new("forks");
    let mut listener = place.listen();
    let mut tx = Some(place.connect());
    let mut rx = Some(accept(&mut listener));
    tx.as_mut().unwrap().send(&bytes(100, 1)).unwrap();
    let child = Forked::start(|| {
        let (mut tx, mut rx) = (tx.take().unwrap(), rx.take().unwrap());
        let failed = has_failed(tx.send(&bytes(100, 2)))
            && has_failed(tx.flush())
            && has_failed(rx.try_recv())
            && has_failed(rx.close());
        drop(tx);
        failed
    });
    assert_eq!(child.exit_code(), Some(0));
    let (mut tx, mut rx) = (tx.unwrap(), rx.unwrap());
    tx.send(&bytes(100, 3)).unwrap();
    for seed in [1, 3] {
        assert_eq!(rx.recv().unwrap().message, bytes(100, seed));
    }
    tx.close().unwrap();
    assert!(rx.recv().unwrap_err().is_closed());
    drop(rx);
    drop(listener);
    place.is_empty_after_a_sweep("after a fork");
}
