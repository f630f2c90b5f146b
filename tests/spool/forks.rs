//! A fork of a process that has connections: the child has none of them, whatever it does with its copies.
#![expect(unsafe_code, reason = "fork(2), which the library itself never calls")]

use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};
use numpush::Error;
use numpush_tests::{PATIENCE, Peer, again, bytes};

use crate::{Place, accept};

const ROLE: &str = "NUMPUSH_TEST_SPOOL_FORKS";

/// Forks. The child exits with 0 if `work` returns true.
fn child(work: impl FnOnce() -> bool) -> Pid {
    // SAFETY: the child does what the test is about, and leaves by _exit: the harness is its parent's.
    match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            let code = i32::from(!work());
            // SAFETY: it does not return.
            unsafe { libc::_exit(code) }
        }
        ForkResult::Parent { child } => child,
    }
}

/// Its exit code; none if it had to be killed.
fn end_of(child: Pid) -> Option<i32> {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        if let WaitStatus::Exited(_, code) = waitpid(child, Some(WaitPidFlag::WNOHANG)).unwrap() {
            return Some(code);
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    kill(child, Signal::SIGKILL).unwrap();
    waitpid(child, None).unwrap();
    None
}

fn has_failed<T>(result: Result<T, Error>) -> bool {
    matches!(result, Err(Error::Failed { .. }))
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
    let child = child(|| {
        let (mut tx, mut rx) = (tx.take().unwrap(), rx.take().unwrap());
        let failed = has_failed(tx.send(&bytes(100, 2)))
            && has_failed(tx.flush())
            && has_failed(rx.try_recv())
            && has_failed(rx.close());
        drop(tx);
        failed
    });
    assert_eq!(end_of(child), Some(0));
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
