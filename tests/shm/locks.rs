//! Locks as their users meet them: many readers, holders that nobody knows of, repairs that fail, forged parts.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ndarray::{Axis, Ix1, Ix2};
use numpush::Frame;
use numpush::shm::{
    Arena, DoubleBufferedArray, Error, LockError, LockOptions, MAX_LOCK_THREADS, Part, SharedArray,
    SharedFrame, SharedGraph, SharedMutex, set_lock_threads,
};

fn array(len: usize) -> SharedArray<u64, Ix1> {
    SharedArray::zeros(&Arena::new(1 << 20), len).unwrap()
}

fn soon() -> LockOptions {
    LockOptions::new().timeout(Duration::from_millis(50))
}

#[test]
fn two_hundred_readers_meet_inside() {
    let array = array(8);
    let barrier = Barrier::new(200);
    std::thread::scope(|scope| {
        for _ in 0..200 {
            scope.spawn(|| {
                let held = array.read();
                barrier.wait();
                assert_eq!(held.unwrap()[0], 0);
            });
        }
    });
    assert!(array.write().is_ok());
}

#[test]
fn six_hundred_readers_meet_inside_if_the_owner_made_room() {
    // More room disturbs no other test of this process, whose threads may be in the same table.
    set_lock_threads(MAX_LOCK_THREADS).unwrap();
    let array = array(8);
    let barrier = Barrier::new(600);
    std::thread::scope(|scope| {
        for _ in 0..600 {
            let meet = || {
                let held = array.read();
                barrier.wait();
                held.map(|held| held[0])
            };
            std::thread::Builder::new()
                .stack_size(64 << 10)
                .spawn_scoped(scope, move || assert_eq!(meet(), Ok(0)))
                .unwrap();
        }
    });
}

#[test]
fn a_room_that_locks_cannot_have_is_refused() {
    let max = MAX_LOCK_THREADS;
    for threads in [0, max + 1] {
        let error = set_lock_threads(threads).unwrap_err();
        assert_eq!((error.threads, error.max), (threads, max));
    }
}

#[test]
fn a_thread_holds_sixty_arrays_for_writing() {
    let arrays: Vec<_> = (0..60).map(|_| array(8)).collect();
    let held: Vec<_> = arrays.iter().map(|array| array.write().unwrap()).collect();
    assert_eq!(held.len(), 60);
}

#[test]
fn an_array_with_many_row_locks_is_locked_whole() {
    let array = SharedArray::<u64, Ix2>::zeros(&Arena::new(1 << 20), (64, 8)).unwrap();
    let array = array.with_row_locks(64).unwrap();
    array.write().unwrap().fill(3);
    assert_eq!(array.read().unwrap().sum(), 3 * 64 * 8);
}

#[test]
fn a_value_that_is_made_while_another_ends_is_not_poisoned() {
    let arena = Arena::new(1 << 22);
    let make = || SharedArray::<u64, Ix1>::zeros(&arena, 8).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let array = make();
                let parts = array.partition(Axis(0), 2).unwrap();
                drop(array);
                drop(parts);
            }
        });
        for _ in 0..20_000 {
            let fresh = make();
            if let Err(error) = fresh.write() {
                stop.store(true, Ordering::Relaxed);
                panic!("a fresh array: {error}");
            };
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn what_a_forgotten_guard_holds_is_not_used_again() {
    let arena = Arena::new(1 << 20);
    let make = || SharedArray::<u64, Ix1>::zeros(&arena, 8).unwrap();
    let (forgot, go) = (Barrier::new(2), Barrier::new(2));
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let lost = make();
            #[expect(clippy::mem_forget, reason = "it stands for a holder nobody knows of")]
            std::mem::forget(lost.write().unwrap());
            let place = lost.read_poisoned().is_err();
            drop(lost);
            forgot.wait();
            go.wait();
            place
        });
        forgot.wait();
        for _ in 0..100 {
            let next = make();
            next.write_with(soon()).unwrap()[0] = 1;
            drop(next.read_with(soon()).unwrap());
        }
        go.wait();
        assert!(thread.join().unwrap());
    });
    // The thread has ended, and the kernel with its hold: the memory serves again.
    let before = arena.usage().used;
    drop(make());
    assert!(arena.usage().used <= before);
}

#[test]
fn a_repair_that_dies_is_reported_for_everything() {
    let array = array(1000);
    let die_writing = |repair: bool| {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let held = if repair {
                    array.write_poisoned().map_err(Error::from)
                } else {
                    array.write_rows(0..10)
                };
                #[expect(clippy::mem_forget, reason = "the thread dies with the lock")]
                std::mem::forget(held.unwrap());
            });
        });
    };
    let dirty = || match array.read().map(drop) {
        Err(LockError::Poisoned(poison)) => poison.dirty,
        other => panic!("{other:?}"),
    };
    die_writing(false);
    assert_eq!(dirty(), 0..80);
    die_writing(true);
    assert_eq!(dirty(), 0..8000);
}

#[test]
fn a_part_of_another_division_is_refused() {
    let array = array(8);
    let parts = array.partition(Axis(0), 2).unwrap();
    let [first, second] = [0, 1].map(|at| serde_json::to_value(parts.part(at).unwrap()).unwrap());
    let open = |json: serde_json::Value| {
        serde_json::from_value::<Part<SharedArray<u64, Ix1>>>(json).unwrap()
    };
    let changed = |name: &str, to: serde_json::Value| {
        let mut json = second.clone();
        json[name] = to;
        json
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut honest = open(first.clone());
            let held = honest.write().unwrap();
            assert_eq!(held.len(), 4);
            for forged in [
                changed("blocks", serde_json::json!([[0, 4]])),
                changed("number", 0.into()),
                changed("lock", first["lock"].clone()),
            ] {
                let refused = std::thread::scope(|scope| {
                    let write = || open(forged).write().map(drop);
                    scope.spawn(write).join().unwrap()
                });
                assert_eq!(refused, Err(LockError::OtherPart));
            }
        });
    });
    // An array is divided in single items: such a part is not even opened.
    let forged = serde_json::from_value::<Part<SharedArray<u64, Ix1>>>(changed("grain", 2.into()));
    assert!(forged.is_err());
    std::thread::scope(|scope| {
        scope.spawn(|| assert!(open(second).write().is_ok()));
    });
}

/// What `attempt` returns in another thread.
fn elsewhere<R: Send>(attempt: impl FnOnce() -> R + Send) -> R {
    std::thread::scope(|scope| scope.spawn(attempt).join().unwrap())
}

fn names_this_process(error: &LockError) -> bool {
    let LockError::Timeout {
        after,
        holder: Some(holder),
    } = error
    else {
        return false;
    };
    after.is_zero() && holder.pid == std::process::id() && error.to_string().starts_with("held by")
}

#[test]
fn every_value_is_tried_without_a_wait() {
    let arena = Arena::new(1 << 20);
    let rows = SharedArray::<u64, Ix2>::zeros(&arena, (8, 8)).unwrap();
    let rows = rows.with_row_locks(4).unwrap();
    let last = rows.write_rows(6..8).unwrap();
    let refused = elsewhere(|| [rows.try_read().err(), rows.try_write().err()]);
    drop(last);
    assert!(
        refused.iter().flatten().all(names_this_process),
        "{refused:?}"
    );
    assert!(rows.try_write().is_ok());

    let double = DoubleBufferedArray::<u64, Ix1>::zeros(&arena, 8).unwrap();
    let old = double.read().unwrap();
    let committed = elsewhere(|| double.try_commit(|next| next[0] = 1).unwrap());
    // The next commit would be written where this thread still reads.
    let refused = elsewhere(|| double.try_replace(|_, next| next.fill(2)).unwrap_err());
    assert!(elsewhere(|| double.try_read().unwrap()[0]) == 1 && old[0] == 0);
    drop(old);
    assert!(names_this_process(&refused), "{refused:?}");
    assert_eq!((committed, double.try_commit(|_| ()).unwrap()), (1, 2));

    let graph: SharedGraph = SharedGraph::from_edges(&arena, 2, &[(0, 1, 1.0)]).unwrap();
    let held = graph.try_read().unwrap();
    let refused = elsewhere(|| graph.try_write().map(drop).unwrap_err());
    drop(held);
    assert!(names_this_process(&refused), "{refused:?}");
    assert!(graph.try_write().is_ok());

    let frame = Frame::with_rows(1, vec![]).unwrap();
    let frame = SharedFrame::copy_of(&arena, &frame).unwrap();
    let held = frame.try_write().unwrap();
    let refused = elsewhere(|| frame.try_read().map(drop).unwrap_err());
    drop(held);
    assert!(names_this_process(&refused), "{refused:?}");
    assert!(frame.try_read().is_ok());

    let mutex = SharedMutex::new().unwrap();
    let held = mutex.try_lock().unwrap();
    let refused = elsewhere(|| mutex.try_lock().map(drop).unwrap_err());
    drop(held);
    assert!(names_this_process(&refused), "{refused:?}");
    assert!(mutex.try_lock().is_ok());
}

#[test]
fn a_longest_timeout_is_no_timeout() {
    let array = array(8);
    let held = array.write_with(LockOptions::new().timeout(Duration::MAX));
    assert!(held.is_ok());
    drop(held);
    assert!(matches!(
        array.partition(Axis(0), 0),
        Err(Error::Division { .. })
    ));
}
