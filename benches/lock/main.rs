//! What a lock costs when nobody else wants it, and how long a writer waits among many readers; beside std's, parking_lot's
//! and pthread's, in one run.
//!
//! `cargo bench -p numpush-benches --bench lock`. Each figure of the first table is the median of 21 rounds of 100,000 pairs
//! of lock and unlock. Of the second see [`churn`].

mod churn;
mod pthread;

use std::hint::black_box;
use std::sync::{Mutex, RwLock};

use numpush_benches::{is_test, time};
use numpush_shm_core::{LockOptions, OwnedLock};

const ROUNDS: usize = 21;
const PAIRS: u32 = 100_000;

fn main() {
    // A test run only wants to know that it starts.
    if is_test() {
        return;
    }
    let block = OwnedLock::new().expect("memory for locks");
    let lock = block.lock();
    let attempt = LockOptions::default();
    let mutex = Mutex::new(0);
    let rwlock = RwLock::new(0);
    let (parked, parked_rwlock) = (parking_lot::Mutex::new(0), parking_lot::RwLock::new(0));
    let (pthread_mutex, pthread_robust) = (pthread::Mutex::new(false), pthread::Mutex::new(true));
    let pthread_rwlock = pthread::RwLock::new();
    let measured: Vec<(&str, f64)> = vec![
        ("std Mutex", nanos(|| drop(black_box(mutex.lock())))),
        ("std RwLock, read", nanos(|| drop(black_box(rwlock.read())))),
        (
            "parking_lot Mutex",
            nanos(|| drop(black_box(parked.lock()))),
        ),
        (
            "parking_lot RwLock, read",
            nanos(|| drop(black_box(parked_rwlock.read()))),
        ),
        (
            "pthread mutex between processes",
            nanos(|| pthread_mutex.pair()),
        ),
        (
            "the same, robust: the baseline of ours",
            nanos(|| pthread_robust.pair()),
        ),
        (
            "pthread rwlock between processes, read",
            nanos(|| pthread_rwlock.read(|| ())),
        ),
        (
            "numpush mutex",
            nanos(|| drop(lock.mutex(attempt).map(black_box))),
        ),
        (
            "numpush read",
            nanos(|| drop(lock.read(attempt).map(black_box))),
        ),
        (
            "numpush write",
            nanos(|| drop(lock.write(attempt).map(black_box))),
        ),
        (
            "numpush commit",
            nanos(|| drop(lock.commit(attempt).map(black_box))),
        ),
    ];
    for (name, nanos) in measured {
        println!("{name:<40} {nanos:7.1} ns");
    }
    churn::report();
}

/// Nanoseconds of one pair of lock and unlock.
fn nanos(pair: impl FnMut()) -> f64 {
    time(ROUNDS, PAIRS, pair) * 1e9
}
