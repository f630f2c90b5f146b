//! Divided holds: parts, divisions and steps.

use super::halves;
use crate::lock::words::CLOSING;
use crate::lock::{
    DividedHold, DividedPart, Division, LockError, LockOptions, OwnedLock, PartId, RobustRwLock,
};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

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
