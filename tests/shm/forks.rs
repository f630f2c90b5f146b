//! A fork of a process that shares memory: the child has none of its parent's, and finds nothing locked.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ndarray::Ix1;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use numpush::model::BufferAllocator as _;
use numpush::shm::{Arena, Error, Handle, Pool, PoolOptions, SharedArray, TaskError, Tasks};
use numpush_tests::{Forked, Peer, again, eventually, say};

/// No lock was made before: receiving memory is enough for forks to count.
#[test]
fn a_child_receives_into_memory_of_its_own() {
    let mut arena = Arena::new(1 << 20);
    drop(arena.allocate(64).unwrap());
    let mut of_parent = None;
    let child = Forked::start(|| {
        let mut region = arena.allocate(64).unwrap();
        region.as_mut_slice().fill(7);
        let usage = arena.usage();
        usage.used == 64
    });
    let region = of_parent.insert(arena.allocate(64).unwrap());
    region.as_mut_slice().fill(1);
    assert_eq!(child.exit_code(), Some(0));
    assert_eq!(region.as_mut_slice(), [1; 64], "the child wrote to it");
}

#[test]
fn a_child_finds_nothing_locked() {
    let arena = Arena::new(64 << 20);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let array = SharedArray::<u64, Ix1>::zeros(&arena, 1 << 10).unwrap();
                    array.write().unwrap()[0] = 1;
                    array.handle().unwrap();
                    drop(array);
                    arena.trim();
                }
            });
        }
        let codes: Vec<Option<i32>> = (0..50)
            .map(|_| {
                let child = Forked::start(|| {
                    let array = SharedArray::<u64, Ix1>::zeros(&arena, 1 << 10).unwrap();
                    array.write().unwrap()[0] = 1;
                    let handle = array.handle().unwrap();
                    let opened = SharedArray::<u64, Ix1>::open(&handle).unwrap();
                    arena.usage().used == 8 << 10 && opened.read().unwrap()[0] == 1
                });
                child.exit_code()
            })
            .collect();
        stop.store(true, Ordering::Relaxed);
        assert_eq!(codes, vec![Some(0); 50]);
    });
}

fn square(number: u64) -> u64 {
    number * number
}

#[test]
fn worker() {
    Tasks::new().with(square).serve();
}

#[test]
fn a_child_has_no_workers_and_leaves_those_of_its_parent() {
    let options = PoolOptions::new().arguments(["--exact", "worker", "--nocapture"]);
    let pool = Pool::with_options(1, options).unwrap();
    let task = pool.submit(square, (3,));
    let is_refused = |ended: Result<u64, TaskError>| {
        let fault = "this process was forked from the pool's";
        matches!(ended, Err(TaskError::NoWorker { fault: why, .. }) if why == fault)
    };
    let mut ours = Some((pool, task));
    let child = Forked::start(|| {
        let (pool, task) = ours.take().unwrap();
        let refused = is_refused(pool.apply(square, (2,))) && is_refused(task.wait());
        drop(pool);
        refused
    });
    assert_eq!(child.exit_code(), Some(0));
    let (pool, task) = ours.unwrap();
    assert_eq!(task.wait().unwrap(), 9);
    assert_eq!(pool.apply(square, (2,)).unwrap(), 4);
}

const OWNER: &str = "NUMPUSH_TEST_OWNER";

/// Owns an array, and has a child that only waits.
#[test]
fn owner() {
    if std::env::var_os(OWNER).is_none() {
        return;
    }
    let array = SharedArray::<u64, Ix1>::zeros(&Arena::new(1 << 20), 8).unwrap();
    say("handle", array.handle().unwrap());
    let word = || std::io::Read::read(&mut std::io::stdin(), &mut [0]);
    // Opened by now.
    word().unwrap();
    let child = Forked::start(|| {
        std::thread::sleep(Duration::from_secs(600));
        true
    });
    say("child", child.id());
    word().unwrap();
}

#[test]
fn a_child_does_not_hide_the_end_of_an_owner() {
    let mut owner = Peer::start(again("owner").env(OWNER, "1"));
    let handle: Handle = owner.hears("handle").parse().unwrap();
    let array = SharedArray::<u64, Ix1>::open(&handle).unwrap();
    owner.nod();
    let child = Pid::from_raw(owner.hears("child").parse().unwrap());
    owner.kill();
    drop(array);
    eventually("the end of the owner is noticed", || {
        match SharedArray::<u64, Ix1>::open(&handle) {
            Ok(_) => false,
            Err(Error::Stale { .. }) => true,
            Err(error) => panic!("{error}"),
        }
    });
    kill(child, Signal::SIGKILL).unwrap();
}
