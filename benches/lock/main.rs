//! What a lock costs when nobody else wants it, beside std's and pthread's, in one run.
//!
//! `cargo bench -p numpush-benches --bench lock`. Each figure is the median of 21 rounds of 100,000 pairs of lock and unlock.
#![expect(unsafe_code, reason = "pthread's locks, to compare with")]

use std::cell::UnsafeCell;
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
    let (pthread_mutex, pthread_robust) = (shared_mutex(false), shared_mutex(true));
    let pthread_rwlock = shared_rwlock();
    let measured: Vec<(&str, f64)> = vec![
        ("std Mutex", nanos(|| drop(black_box(mutex.lock())))),
        ("std RwLock, read", nanos(|| drop(black_box(rwlock.read())))),
        (
            "pthread mutex between processes",
            nanos(|| pthread_mutex_pair(&pthread_mutex)),
        ),
        (
            "the same, robust: the baseline of ours",
            nanos(|| pthread_mutex_pair(&pthread_robust)),
        ),
        (
            "pthread rwlock between processes, read",
            nanos(|| pthread_read_pair(&pthread_rwlock)),
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
}

/// Nanoseconds of one pair of lock and unlock.
fn nanos(pair: impl FnMut()) -> f64 {
    time(ROUNDS, PAIRS, pair) * 1e9
}

fn shared_mutex(robust: bool) -> Box<UnsafeCell<libc::pthread_mutex_t>> {
    let mutex = Box::new(UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER));
    let mut attributes = std::mem::MaybeUninit::uninit();
    // SAFETY: room for attributes, which this call initialises.
    unsafe { libc::pthread_mutexattr_init(attributes.as_mut_ptr()) };
    // SAFETY: initialised above.
    unsafe {
        libc::pthread_mutexattr_setpshared(attributes.as_mut_ptr(), libc::PTHREAD_PROCESS_SHARED)
    };
    if robust {
        // SAFETY: initialised above.
        unsafe {
            libc::pthread_mutexattr_setrobust(attributes.as_mut_ptr(), libc::PTHREAD_MUTEX_ROBUST)
        };
    }
    // SAFETY: both are initialised, and nobody uses the mutex yet.
    unsafe { libc::pthread_mutex_init(mutex.get(), attributes.as_ptr()) };
    mutex
}

fn shared_rwlock() -> Box<UnsafeCell<libc::pthread_rwlock_t>> {
    let lock = Box::new(UnsafeCell::new(libc::PTHREAD_RWLOCK_INITIALIZER));
    let mut attributes = std::mem::MaybeUninit::uninit();
    // SAFETY: room for attributes, which this call initialises.
    unsafe { libc::pthread_rwlockattr_init(attributes.as_mut_ptr()) };
    // SAFETY: initialised above.
    unsafe {
        libc::pthread_rwlockattr_setpshared(attributes.as_mut_ptr(), libc::PTHREAD_PROCESS_SHARED)
    };
    // SAFETY: both are initialised, and nobody uses the lock yet.
    unsafe { libc::pthread_rwlock_init(lock.get(), attributes.as_ptr()) };
    lock
}

fn pthread_mutex_pair(mutex: &UnsafeCell<libc::pthread_mutex_t>) {
    // SAFETY: an initialised mutex in a box.
    unsafe { libc::pthread_mutex_lock(mutex.get()) };
    // SAFETY: as above, and locked.
    unsafe { libc::pthread_mutex_unlock(mutex.get()) };
}

fn pthread_read_pair(lock: &UnsafeCell<libc::pthread_rwlock_t>) {
    // SAFETY: an initialised lock in a box.
    unsafe { libc::pthread_rwlock_rdlock(lock.get()) };
    // SAFETY: as above, and locked.
    unsafe { libc::pthread_rwlock_unlock(lock.get()) };
}
