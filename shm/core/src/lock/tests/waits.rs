//! How a writer waits for readers.

use crate::lock::futex::Slept;
use crate::lock::futex::tests::{age_the_kernel, kernel_waits_for_two, take_sleeps};
use crate::lock::{LockOptions, OwnedLock, RobustRwLock};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork};
use std::sync::atomic::Ordering;
use std::time::Duration;

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
