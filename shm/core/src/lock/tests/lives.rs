//! Locks, records and tables across forks, deaths and new lives.

use crate::lock::table::LockTable;
use crate::lock::thread::{Entered, Mode, enter, leave};
use crate::lock::{LockError, LockOptions, OwnedLock};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Runs `child` in a forked child and returns its exit code.
fn in_a_fork(child: impl FnOnce() -> i32) -> i32 {
    // SAFETY: the child only touches locks and memory that are its own copies, and leaves by _exit.
    match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            let code = child();
            // SAFETY: it does not return.
            unsafe { libc::_exit(code) }
        }
        ForkResult::Parent { child } => match waitpid(child, None).unwrap() {
            WaitStatus::Exited(_, code) => code,
            other => panic!("{other:?}"),
        },
    }
}

#[test]
fn a_forked_child_holds_nothing_of_its_parent() {
    let block = OwnedLock::new().unwrap();
    let lock = block.lock().clone();
    let held = lock.write(LockOptions::default()).unwrap();
    let soon = LockOptions {
        timeout: Some(Duration::from_millis(10)),
        accept_poison: false,
    };
    let code = in_a_fork(|| {
        // The guard is the parent's: dropping the child's copy of it must let nobody in.
        drop(held);
        i32::from(!matches!(lock.read(soon), Err(LockError::Timeout { .. })))
    });
    assert_eq!(code, 0);
    // `held` was moved into the closure, which the parent did not run but dropped.
    assert!(lock.read(soon).is_ok());
}

#[test]
fn a_forked_child_makes_locks_of_its_own() {
    let ours = OwnedLock::new().unwrap();
    let memory = ours.memory();
    let code = in_a_fork(|| {
        let theirs = OwnedLock::new().unwrap();
        i32::from(theirs.memory() == memory)
    });
    assert_eq!(code, 0);
    assert!(!ours.lock().is_retired());
}

#[test]
fn a_stale_lock_is_retired_for_good() {
    let block = OwnedLock::new().unwrap();
    let stale = block.lock().clone();
    drop(block);
    let again = OwnedLock::new().unwrap();
    assert_eq!(
        stale.read(LockOptions::default()).unwrap_err(),
        LockError::Retired
    );
    assert_eq!(
        stale.write(LockOptions::default()).unwrap_err(),
        LockError::Retired
    );
    assert_eq!(
        stale.commit(LockOptions::default()).unwrap_err(),
        LockError::Retired
    );
    assert!(again.lock().write(LockOptions::default()).is_ok());
}

#[test]
fn a_writer_of_an_old_life_keeps_the_gate_closed_in_the_next() {
    let table = LockTable::create(1, 2).unwrap();
    let begin = || table.lock(0, table.lock(0, 0).head.begin());
    let old = begin();
    assert!(old.retire());
    let soon = LockOptions {
        timeout: Some(Duration::from_millis(10)),
        accept_poison: false,
    };
    let (closed, done) = (std::sync::Barrier::new(2), std::sync::Barrier::new(2));
    std::thread::scope(|scope| {
        // A writer with a handle of the old life is about to drain.
        scope.spawn(|| {
            assert!(old.head.writer.try_lock().is_some());
            old.head.state.gate.store(1, Ordering::SeqCst);
            closed.wait();
            done.wait();
            old.open_gate();
            old.unlock_writer();
        });
        closed.wait();
        let new = begin();
        let Ok(Entered::New(place)) = enter(&table, new.id(), Mode::Shared) else {
            unreachable!("the thread holds nothing")
        };
        // Whoever came in beside it could lose its bit to it, and the next writer would not find it.
        let beside = new.enter_shared(place, soon);
        if beside.is_ok() {
            place.set(0);
        }
        done.wait();
        assert!(
            matches!(beside, Err(LockError::Timeout { .. })),
            "{beside:?}"
        );
        assert_eq!(new.enter_shared(place, LockOptions::default()), Ok(()));
        leave(new.id(), place, || place.set(0));
    });
}

#[test]
fn more_threads_than_records_are_refused_until_one_ends() {
    let table = LockTable::create(1, 2).unwrap();
    let lock = table.lock(0, table.lock(0, 0).head.begin());
    let take = || match enter(&table, lock.id(), Mode::Shared) {
        Ok(Entered::New(place)) => Ok(place),
        Ok(Entered::Again(_)) => unreachable!("a thread takes it once"),
        Err(error) => Err(error),
    };
    let (both, tried) = (std::sync::Barrier::new(3), std::sync::Barrier::new(3));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let place = take().unwrap();
                both.wait();
                tried.wait();
                leave(lock.id(), place, || ());
            });
        }
        both.wait();
        let refused = take().map(drop);
        tried.wait();
        assert_eq!(refused, Err(LockError::TooManyThreads { max: 2 }));
    });
    // The scope ends with the closures, a thread with its destructors.
    let place = loop {
        match take() {
            Ok(place) => break place,
            Err(error) => assert_eq!(error, LockError::TooManyThreads { max: 2 }),
        }
        std::thread::yield_now();
    };
    leave(lock.id(), place, || ());
}

#[test]
fn a_writer_is_known_with_its_time_and_a_reader_without() {
    let block = OwnedLock::new().unwrap();
    let lock = block.lock();
    let held = lock.write(LockOptions::default()).unwrap();
    assert!(lock.state().writer.unwrap().held_for.is_some());
    drop(held);
    let _held = lock.read(LockOptions::default()).unwrap();
    let [reader] = lock.state().readers[..] else {
        panic!("one reader");
    };
    assert_eq!((reader.pid, reader.held_for), (std::process::id(), None));
}
