use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::lock::futex::Slept;
use crate::lock::futex::tests::{age_the_kernel, kernel_waits_for_two, take_sleeps};
use crate::lock::table::LockTable;
use crate::lock::thread::{Entered, Mode, enter, leave};
use crate::lock::words::CLOSING;
use crate::lock::{Division, LockError, LockOptions, OwnedLock, RobustRwLock};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};

const HALVES: Division = Division {
    parts: 2,
    grain: 1,
    axis: 0,
};

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

/// Starts a process that reads, and returns it once it does.
fn reader_in_a_fork(lock: &RobustRwLock) -> Pid {
    // SAFETY: the child only touches locks and memory that are its own copies, and does not return.
    match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            // Unless it is killed, as it should be.
            let _ = nix::unistd::alarm::set(60);
            let _held = lock.read(LockOptions::default());
            loop {
                nix::unistd::pause();
            }
        }
        ForkResult::Parent { child } => {
            while lock.state().readers.is_empty() {
                std::thread::yield_now();
            }
            child
        }
    }
}

/// How a writer slept until the reader that it waited for was killed.
fn sleeps_until_the_reader_is_killed(before: fn()) -> Vec<Slept> {
    let block = OwnedLock::new().unwrap();
    let lock = block.lock().clone();
    let reader = reader_in_a_fork(&lock);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            before();
            drop(lock.write(LockOptions::default()).unwrap());
            take_sleeps()
        });
        while lock.state().waiting.is_empty() {
            std::thread::yield_now();
        }
        // Long enough for many looks: whoever looks sleeps 4 ms at most.
        std::thread::sleep(Duration::from_millis(50));
        kill(reader, Signal::SIGKILL).unwrap();
        let slept = writer.join().unwrap();
        waitpid(reader, None).unwrap();
        assert_eq!(lock.state().deaths, 1);
        slept
    })
}

#[test]
fn a_writer_sleeps_until_its_reader_dies() {
    if !kernel_waits_for_two() {
        eprintln!("NOT RUN: this kernel has no futex_waitv(2)");
        return;
    }
    assert_eq!(sleeps_until_the_reader_is_killed(|| ()), [Slept::Long]);
}

#[test]
fn a_writer_looks_for_a_dead_reader_where_the_kernel_cannot_wait_for_it() {
    let sleeps = sleeps_until_the_reader_is_killed(age_the_kernel);
    assert!(sleeps.len() > 2, "{sleeps:?}");
    assert!(sleeps.iter().all(|slept| *slept == Slept::Short));
}

#[test]
fn a_writer_sleeps_once_until_its_reader_lets_go() {
    let block = OwnedLock::new().unwrap();
    let lock = block.lock();
    let held = lock.read(LockOptions::default()).unwrap();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            drop(lock.write(LockOptions::default()).unwrap());
            take_sleeps()
        });
        while lock.state().waiting.is_empty() {
            std::thread::yield_now();
        }
        std::thread::sleep(Duration::from_millis(50));
        drop(held);
        let sleeps = writer.join().unwrap();
        if kernel_waits_for_two() {
            assert_eq!(sleeps, [Slept::Long]);
        }
    });
}

/// The kernel wakes one of those who wait for a death. It clears the record, and so wakes the others.
#[test]
fn two_writers_of_two_locks_wait_for_one_reader_that_dies() {
    let [one, other] = [0, 1].map(|_| OwnedLock::new().unwrap());
    let held = std::sync::Barrier::new(3);
    std::thread::scope(|scope| {
        for block in [&one, &other] {
            scope.spawn(|| {
                held.wait();
                assert!(block.lock().write(LockOptions::default()).is_ok());
            });
        }
        scope.spawn(|| {
            let reads =
                [&one, &other].map(|block| block.lock().read(LockOptions::default()).unwrap());
            held.wait();
            while [&one, &other]
                .iter()
                .any(|block| block.lock().state().waiting.is_empty())
            {
                std::thread::yield_now();
            }
            #[expect(clippy::mem_forget, reason = "the thread dies with the locks")]
            std::mem::forget(reads);
        });
    });
    let deaths = [one, other].map(|block| block.lock().state().deaths);
    assert!(deaths.iter().sum::<u32>() >= 1, "{deaths:?}");
}

#[test]
fn a_waiting_writer_goes_before_later_readers() {
    let block = OwnedLock::new().unwrap();
    let lock = block.lock().clone();
    let order = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        let first = lock.read(LockOptions::default()).unwrap();
        let writer = scope.spawn(|| {
            let _held = lock.write(LockOptions::default()).unwrap();
            order.lock().unwrap().push("writer");
        });
        while lock.raw().head.state.gate.load(Ordering::Acquire) == 0 {
            std::thread::yield_now();
        }
        let reader = scope.spawn(|| {
            let _held = lock.read(LockOptions::default()).unwrap();
            order.lock().unwrap().push("reader");
        });
        while lock.state().waiting.len() < 2 {
            std::thread::yield_now();
        }
        drop(first);
        writer.join().unwrap();
        reader.join().unwrap();
    });
    assert_eq!(*order.lock().unwrap(), ["writer", "reader"]);
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
fn parts_outlive_a_coordinator_that_dies_and_then_nobody_joins() {
    let block = OwnedLock::new().unwrap();
    let lock = block.lock().clone();
    let (joined, go) = (std::sync::Barrier::new(2), std::sync::Barrier::new(2));
    let epoch = std::sync::OnceLock::new();
    std::thread::scope(|scope| {
        let coordinator = scope.spawn(|| {
            let mut held = lock.write(LockOptions::default()).unwrap();
            epoch.set(held.hand_out_parts(HALVES)).unwrap();
            joined.wait();
            #[expect(clippy::mem_forget, reason = "the thread dies with the lock")]
            std::mem::forget(held);
        });
        joined.wait();
        let worker = scope.spawn(|| {
            let part = lock.join_parts(*epoch.get().unwrap(), HALVES).unwrap();
            go.wait();
            drop(part);
        });
        coordinator.join().unwrap();
        while lock.state().readers.is_empty() {
            std::thread::yield_now();
        }
        // The worker is still inside: nobody else may be.
        let soon = LockOptions {
            timeout: Some(Duration::from_millis(10)),
            accept_poison: true,
        };
        assert!(matches!(lock.read(soon), Err(LockError::Timeout { .. })));
        assert_eq!(
            lock.join_parts(*epoch.get().unwrap(), HALVES).unwrap_err(),
            LockError::Retired
        );
        go.wait();
        worker.join().unwrap();
        let error = lock.read(LockOptions::default()).unwrap_err();
        assert!(matches!(error, LockError::Poisoned(_)), "{error}");
        lock.write(LockOptions {
            timeout: None,
            accept_poison: true,
        })
        .unwrap()
        .clear_poison();
        assert!(lock.read(LockOptions::default()).is_ok());
    });
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
fn nobody_joins_parts_that_are_being_taken_back() {
    let block = OwnedLock::new().unwrap();
    let lock = block.lock().clone();
    let mut held = lock.write(LockOptions::default()).unwrap();
    let epoch = held.hand_out_parts(HALVES);
    let (joined, go) = (std::sync::Barrier::new(2), std::sync::Barrier::new(2));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let part = lock.join_parts(epoch, HALVES).unwrap();
            joined.wait();
            go.wait();
            drop(part);
        });
        joined.wait();
        let closing = held.take_back_parts(Some(Duration::ZERO));
        let lock = &lock;
        let refused = [epoch, CLOSING, 0].map(|forged| {
            let join = move || lock.join_parts(forged, HALVES).err();
            scope.spawn(join).join().unwrap()
        });
        go.wait();
        assert!(closing.is_err());
        assert!(
            refused
                .iter()
                .all(|error| *error == Some(LockError::Retired)),
            "{refused:?}"
        );
        held.take_back_parts(None).unwrap();
    });
}

#[test]
fn each_division_of_a_hold_has_a_number_of_its_own() {
    let block = OwnedLock::new().unwrap();
    let mut held = block.lock().write(LockOptions::default()).unwrap();
    let first = held.hand_out_parts(HALVES);
    held.take_back_parts(None).unwrap();
    let second = held.hand_out_parts(HALVES);
    assert_ne!(first, second);
    let lock = block.lock();
    let joins = |epoch| {
        std::thread::scope(|scope| {
            scope
                .spawn(|| lock.join_parts(epoch, HALVES).is_ok())
                .join()
                .unwrap()
        })
    };
    assert!(!joins(first) && joins(second));
}

#[test]
fn ends_of_two_ranges_are_reported_as_everything() {
    let block = OwnedLock::new().unwrap();
    let words = &block.lock().raw().head.state;
    words.dirty_start.store(64, Ordering::Relaxed);
    words.dirty_end.store(8, Ordering::Relaxed);
    assert_eq!(block.lock().raw().poison().dirty, 0..usize::MAX);
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
