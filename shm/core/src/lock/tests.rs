use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::lock::futex::Slept;
use crate::lock::futex::tests::{age_the_kernel, kernel_waits_for_two, take_sleeps};
use crate::lock::table::LockTable;
use crate::lock::thread::{Entered, Mode, enter, leave};
use crate::lock::words::CLOSING;
use crate::lock::{
    DividedHold, DividedPart, Division, LockError, LockOptions, OwnedLock, PartId, RobustRwLock,
};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};

fn halves() -> Division {
    Division::new([(0, 2)], 1).unwrap()
}

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
    let [divided, joined, go] = [(); 3].map(|()| std::sync::Barrier::new(2));
    let epoch = std::sync::OnceLock::new();
    std::thread::scope(|scope| {
        let coordinator = scope.spawn(|| {
            let mut held = lock.write(LockOptions::default()).unwrap();
            epoch.set(held.hand_out_parts(halves())).unwrap();
            divided.wait();
            joined.wait();
            #[expect(clippy::mem_forget, reason = "the thread dies with the lock")]
            std::mem::forget(held);
        });
        let worker = scope.spawn(|| {
            divided.wait();
            let part = lock.join_parts(*epoch.get().unwrap(), halves(), 0);
            let part = part.unwrap();
            joined.wait();
            go.wait();
            drop(part);
        });
        coordinator.join().unwrap();
        // Whoever comes first after the death finds it, also if it is a worker.
        assert_eq!(
            lock.join_parts(*epoch.get().unwrap(), halves(), 1)
                .unwrap_err(),
            LockError::Retired
        );
        // The worker is still inside: nobody else may be.
        let soon = LockOptions {
            timeout: Some(Duration::from_millis(10)),
            accept_poison: true,
        };
        assert!(matches!(lock.read(soon), Err(LockError::Timeout { .. })));
        assert_eq!(
            lock.join_parts(*epoch.get().unwrap(), halves(), 0)
                .unwrap_err(),
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
    let epoch = held.hand_out_parts(halves());
    let (joined, go) = (std::sync::Barrier::new(2), std::sync::Barrier::new(2));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let part = lock.join_parts(epoch, halves(), 0).unwrap();
            joined.wait();
            go.wait();
            drop(part);
        });
        joined.wait();
        let closing = held.take_back_parts(Some(Duration::ZERO));
        let lock = &lock;
        let refused = [epoch, CLOSING, 0].map(|forged| {
            let join = move || lock.join_parts(forged, halves(), 0).err();
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
    let first = held.hand_out_parts(halves());
    held.take_back_parts(None).unwrap();
    let second = held.hand_out_parts(halves());
    assert_ne!(first, second);
    let lock = block.lock();
    let joins = |epoch| {
        std::thread::scope(|scope| {
            scope
                .spawn(|| lock.join_parts(epoch, halves(), 0).is_ok())
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

/// A value of three parts that is written step by step, and what a worker on a part needs.
fn steps(lock: &RobustRwLock) -> (Rc<DividedHold>, Vec<(PartId, RobustRwLock)>) {
    let part = |_| DividedPart {
        lock: OwnedLock::new().unwrap(),
        bytes: 0..8,
    };
    let division = Division::new([(0, 3)], 1).unwrap();
    let options = LockOptions::default();
    let parts = (0..3).map(part).collect();
    let divided = lock.divide_steps(division, parts, options).unwrap();
    let id = |number| PartId {
        epoch: divided.epoch(),
        division,
        number,
    };
    let locks = divided.locks().map(|lock| lock.lock().clone());
    let shares = locks.enumerate().map(|(number, lock)| (id(number), lock));
    let shares = shares.collect();
    (divided, shares)
}

#[test]
fn a_step_is_a_commit_when_all_parts_are_finished() {
    let block = OwnedLock::new().unwrap();
    let lock = block.lock();
    let (divided, shares) = steps(lock);
    let options = LockOptions::default();
    std::thread::scope(|scope| {
        let work = |(id, part): &(PartId, RobustRwLock)| {
            let mut step = lock.hold_step(*id, part, options).unwrap();
            for commits in 0..1000 {
                assert_eq!(step.commits(), commits);
                step.begin_writing();
                // Readers come and go beside it.
                if commits % 64 == 0 {
                    drop(lock.state());
                }
                step.next_step().unwrap();
            }
        };
        shares.iter().for_each(|share| {
            scope.spawn(move || work(share));
        });
        let reader = scope.spawn(|| {
            let mut last = 0;
            while last < 1000 {
                let commits = lock.read(options).unwrap().commits();
                assert!(commits >= last);
                last = commits;
            }
        });
        reader.join().unwrap();
    });
    assert_eq!(divided.locks().len(), 3);
    assert_eq!(divided.end(), Ok(1000));
}

#[test]
fn a_part_that_is_finished_waits_for_the_others() {
    let block = OwnedLock::new().unwrap();
    let (divided, shares) = steps(block.lock());
    let soon = LockOptions::default().timeout(Duration::from_millis(5));
    let hold = |at: usize| block.lock().hold_step(shares[at].0, &shares[at].1, soon);
    hold(0).unwrap().finish().unwrap();
    assert!(matches!(hold(0), Err(LockError::Timeout { .. })));
    hold(1).unwrap().finish().unwrap();
    // It is no part of what is written in place.
    let in_place = block.lock().hold_part(shares[2].0, &shares[2].1, soon);
    assert_eq!(in_place.map(drop), Err(LockError::OtherPart));
    // Held and let go, it is as before.
    drop(hold(2).unwrap());
    hold(2).unwrap().finish().unwrap();
    assert_eq!(hold(0).unwrap().commits(), 1);
    hold(0).unwrap().finish().unwrap();
    assert_eq!(divided.end(), Err(LockError::Unfinished { part: Some(1) }));
    assert!(matches!(hold(2), Err(LockError::Retired)));
}

#[test]
fn who_dies_in_a_step_is_named_and_nobody_waits_for_it() {
    let block = OwnedLock::new().unwrap();
    let lock = block.lock();
    let (divided, shares) = steps(lock);
    let options = LockOptions::default();
    let unfinished = LockError::Unfinished { part: Some(1) };
    std::thread::scope(|scope| {
        let wait = |at: usize| {
            let (id, part) = &shares[at];
            let mut step = lock.hold_step(*id, part, options).unwrap();
            step.begin_writing();
            step.next_step()
        };
        let waiter = scope.spawn(move || wait(0));
        scope.spawn(|| {
            let (id, part) = &shares[1];
            let mut step = lock.hold_step(*id, part, options).unwrap();
            step.begin_writing();
            #[expect(clippy::mem_forget, reason = "the thread dies with the part")]
            std::mem::forget(step);
        });
        // A thread of another test that takes over the record of the dead one erases which part it had.
        let told = waiter.join().unwrap().unwrap_err();
        assert!(told == unfinished || told == LockError::Unfinished { part: None });
        let (id, part) = &shares[2];
        let late = lock.hold_step(*id, part, options).map(drop);
        assert_eq!(late, Err(told));
    });
    assert_eq!(lock.read(options).map(drop), Err(LockError::WouldDeadlock));
    assert_eq!(divided.end(), Err(unfinished));
    assert_eq!(lock.read(options).unwrap().commits(), 0);
}

#[test]
fn a_step_ends_with_the_thread_that_divided() {
    let block = OwnedLock::new().unwrap();
    let lock = block.lock();
    let options = LockOptions::default();
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let divider = scope.spawn(move || {
            let (divided, shares) = steps(lock);
            sender.send(shares).unwrap();
            // The thread dies with the lock. What it had is kept where LeakSanitizer finds it.
            static KEPT: AtomicUsize = AtomicUsize::new(0);
            KEPT.store(Rc::into_raw(divided).expose_provenance(), Ordering::Relaxed);
        });
        let shares = receiver.recv().unwrap();
        let (id, part) = &shares[0];
        let mut step = match lock.hold_step(*id, part, options) {
            Ok(step) => step,
            // It died before.
            Err(error) => return assert_eq!(error, LockError::Retired),
        };
        divider.join().unwrap();
        step.begin_writing();
        assert_eq!(step.next_step(), Err(LockError::Retired));
        drop(step);
        // The last commit stays, and another committer goes on.
        assert_eq!(lock.read(options).unwrap().commits(), 0);
        assert_eq!(lock.commit(options).unwrap().publish(), 1);
    });
}
