use std::sync::atomic::Ordering;
use std::time::Duration;

use numpush_shm_core::LockOptions;

use super::{
    BarrierError, SharedAtomicArray, SharedBarrier, SharedCondition, SharedCounter,
    SharedDynAtomicArray,
};
use crate::arena::Arena;
use crate::error::Error;
use crate::mutex::SharedMutex;
use crate::value::SharedValue;

const THREADS: u64 = 4;

fn soon() -> LockOptions {
    LockOptions::new().timeout(Duration::from_millis(5))
}

#[test]
fn every_width_counts() {
    let arena = Arena::new(1 << 20);
    let signed = SharedAtomicArray::<i32>::copy_of(&arena, &[-1, 5]).unwrap();
    assert_eq!(
        signed.cells().unwrap()[0].fetch_add(2, Ordering::Relaxed),
        -1
    );
    assert_eq!(signed.cells().unwrap()[1].load(Ordering::Relaxed), 5);
    assert_eq!((signed.len(), signed.byte_len()), (2, 8));
    let none = SharedAtomicArray::<u64>::zeros(&arena, 0).unwrap();
    assert!(none.is_empty() && none.cells().unwrap().is_empty());
    let huge = SharedAtomicArray::<u64>::zeros(&arena, usize::MAX);
    assert!(matches!(huge, Err(Error::NoRoom(_))));
}

#[test]
fn threads_count_in_the_slice_of_a_guard() {
    let cells = SharedAtomicArray::<i64>::zeros(&Arena::shared(), 3).unwrap();
    let held = cells.cells().unwrap();
    let all: &[_] = &held;
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| (0..1000).for_each(|_| _ = all[1].fetch_sub(1, Ordering::Relaxed)));
        }
    });
    assert_eq!(held[1].load(Ordering::Relaxed), -4000);
}

#[test]
fn an_atomic_array_of_another_type_is_refused() {
    let cells = SharedAtomicArray::<u64>::zeros(&Arena::shared(), 3).unwrap();
    let handle = cells.handle().unwrap();
    let refused = SharedAtomicArray::<i64>::open(&handle).unwrap_err();
    assert!(matches!(refused, Error::Dtype { .. }), "{refused}");
    let refused = SharedCounter::open(&handle).unwrap_err();
    assert!(matches!(refused, Error::Range { len: 3, .. }), "{refused}");
    assert!(SharedBarrier::open(&handle).is_err());
    assert_eq!(SharedAtomicArray::<u64>::open(&handle).unwrap().len(), 3);
}

#[test]
fn nobody_passes_before_all_are_there() {
    let barrier = SharedBarrier::new(4).unwrap();
    let arrived = SharedCounter::new(0).unwrap();
    let last = SharedCounter::new(0).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let mut member = barrier.join().unwrap();
                for step in 1..=500 {
                    arrived.add(1).unwrap();
                    let is_last = member.wait().unwrap();
                    last.add(is_last.into()).unwrap();
                    assert_eq!(arrived.get(), Ok(THREADS * step));
                    member.wait().unwrap();
                }
            });
        }
    });
    assert_eq!(last.get(), Ok(500));
}

#[test]
fn one_participant_waits_for_nobody() {
    let barrier = SharedBarrier::new(1).unwrap();
    let mut member = barrier.join().unwrap();
    // More phases than the words have numbers for.
    assert!((0..1_100_000).all(|_| member.wait().unwrap()));
}

#[test]
fn a_wait_that_timed_out_goes_on() {
    let barrier = SharedBarrier::new(2).unwrap();
    let mut here = barrier.join().unwrap();
    let refused = here.wait_with(soon()).unwrap_err();
    assert!(
        matches!(&refused, BarrierError::Timeout { missing, .. } if *missing == [1]),
        "{refused}"
    );
    assert!(here.wait_with(soon()).is_err());
    std::thread::scope(|scope| {
        scope.spawn(|| assert!(barrier.join().unwrap().wait().unwrap()));
        assert!(!here.wait().unwrap());
    });
}

#[test]
fn who_waits_for_one_that_left_is_told() {
    let barrier = SharedBarrier::new(2).unwrap();
    let mut here = barrier.join().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| drop(barrier.join().unwrap()));
        let broken = BarrierError::Broken {
            participant: 1,
            pid: std::process::id(),
            died: false,
        };
        assert_eq!(here.wait(), Err(broken.clone()));
        assert_eq!(here.wait(), Err(broken));
    });
    assert_eq!(
        barrier.join().unwrap_err(),
        BarrierError::Full { participants: 2 }
    );
    drop(here);
    // Nobody is left of those who knew the barrier broken.
    let mut here = barrier.join().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| barrier.join().unwrap().wait().unwrap());
        assert!(here.wait().is_ok());
    });
}

#[test]
fn who_waits_for_a_thread_that_ended_is_told() {
    let barrier = SharedBarrier::new(3).unwrap();
    let mut here = barrier.join().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            #[expect(clippy::mem_forget, reason = "the thread ends as a member")]
            std::mem::forget(barrier.join().unwrap());
        });
        let refused = here.wait().unwrap_err();
        assert!(
            matches!(refused, BarrierError::Broken { died: true, .. }),
            "{refused}"
        );
    });
}

/// A member that arrived has done its part, whatever becomes of it.
#[test]
fn who_arrived_and_died_is_not_missed_before_the_next_time() {
    let barrier = SharedBarrier::new(2).unwrap();
    let mut here = barrier.join().unwrap();
    std::thread::scope(|scope| {
        let arrived = scope.spawn(|| {
            let mut member = barrier.join().unwrap();
            assert!(member.wait_with(soon()).is_err());
            #[expect(clippy::mem_forget, reason = "the thread ends as a member")]
            std::mem::forget(member);
        });
        arrived.join().unwrap();
        assert!(here.wait().unwrap());
        assert!(matches!(here.wait(), Err(BarrierError::Broken { .. })));
    });
}

#[test]
fn a_barrier_has_participants() {
    for participants in [0, 1025] {
        let refused = SharedBarrier::new(participants).unwrap_err();
        assert!(matches!(refused, Error::Barrier(_)), "{refused}");
    }
}

#[test]
fn a_condition_wakes_those_who_wait() {
    let (mutex, changed) = (SharedMutex::new().unwrap(), SharedCondition::new().unwrap());
    let (jobs, waiting) = (
        SharedCounter::new(0).unwrap(),
        SharedCounter::new(0).unwrap(),
    );
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let held = mutex.lock().unwrap();
                waiting.add(1).unwrap();
                let _held = changed.wait_while(held, || jobs.get() == Ok(0)).unwrap();
                jobs.set(jobs.get().unwrap() - 1).unwrap();
            });
        }
        while waiting.get() != Ok(THREADS) {
            std::thread::yield_now();
        }
        for _ in 0..2 {
            let _held = mutex.lock().unwrap();
            jobs.add(1).unwrap();
            changed.notify_one().unwrap();
        }
        let held = mutex.lock().unwrap();
        jobs.add(THREADS - 2).unwrap();
        drop(held);
        changed.notify_all().unwrap();
    });
    assert_eq!(jobs.get(), Ok(0));
}

#[test]
fn a_wait_for_a_condition_ends_in_time() {
    let (mutex, changed) = (SharedMutex::new().unwrap(), SharedCondition::new().unwrap());
    let held = mutex.lock().unwrap();
    let (held, notified) = changed
        .wait_timeout(held, Duration::from_millis(2))
        .unwrap();
    assert!(!notified);
    assert!(mutex.lock_with(soon()).is_err());
    drop(held);
    assert!(mutex.lock_with(soon()).is_ok());
}

#[test]
fn each_opens_as_a_value_of_its_kind() {
    let atomics = SharedAtomicArray::<i64>::zeros(&Arena::shared(), 3).unwrap();
    let (barrier, condition) = (
        SharedBarrier::new(2).unwrap(),
        SharedCondition::new().unwrap(),
    );
    let open = |handle: Result<_, Error>| SharedValue::open(&handle.unwrap()).unwrap();
    let opened = open(atomics.handle());
    assert!(matches!(
        &opened,
        SharedValue::Atomics(SharedDynAtomicArray::I64(_))
    ));
    assert_eq!(opened.handle().unwrap(), atomics.handle().unwrap());
    assert!(matches!(open(barrier.handle()), SharedValue::Barrier(_)));
    assert!(matches!(
        open(condition.handle()),
        SharedValue::Condition(_)
    ));
}
