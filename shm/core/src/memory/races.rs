//! Threads that use the same bytes at the same time, each by the right that it has. What they see is checked, and
//! ThreadSanitizer checks the order of their accesses: a lock with a store too weak fails here under it.

use std::sync::Arc;

use super::*;
use crate::lock::{LockOptions, OwnedLock};

const THREADS: usize = 4;
const ROUNDS: usize = 500;
const LEN: usize = 256;

fn pages() -> Arc<SharedPages> {
    SharedPages::new(4096, PageOptions::default()).unwrap()
}

/// Runs `work` in each thread, with its number.
fn in_threads(work: impl Fn(usize) + Sync) {
    std::thread::scope(|scope| {
        let work = &work;
        let start = |number| scope.spawn(move || (0..ROUNDS).for_each(|_| work(number)));
        let all: Vec<_> = (0..THREADS).map(start).collect();
        // By pthread_join(3), whose order the sanitizer knows.
        all.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

fn assert_whole(bytes: &[u8]) {
    assert!(bytes.iter().all(|&byte| byte == bytes[0]), "torn");
}

#[test]
fn readers_and_writers_of_one_range() {
    let (block, pages) = (OwnedLock::new().unwrap(), pages());
    let owned = pages.take_exclusive(0..LEN).unwrap();
    let guarded = owned.into_locked(block.lock());
    let options = LockOptions::default();
    in_threads(|number| {
        if number == 0 {
            let mut held = block.lock().write(options).unwrap();
            let bytes = guarded.bytes_mut(&mut held);
            let next = bytes[0].wrapping_add(1);
            bytes.fill(next);
        } else {
            let held = block.lock().read(options).unwrap();
            assert_whole(guarded.bytes(&held));
        }
    });
    let held = block.lock().read(options).unwrap();
    assert_eq!(usize::from(guarded.bytes(&held)[0]), ROUNDS % 256);
}

#[test]
fn writers_of_one_range() {
    let (block, pages) = (OwnedLock::new().unwrap(), pages());
    let owned = pages.take_exclusive(0..8).unwrap();
    let guarded = owned.into_locked(block.lock());
    let count = |held: &mut _| {
        let count: &mut u64 = bytemuck::from_bytes_mut(guarded.bytes_mut(held));
        *count += 1;
        *count
    };
    in_threads(|_| {
        count(&mut block.lock().write(LockOptions::default()).unwrap());
    });
    let counted = count(&mut block.lock().write(LockOptions::default()).unwrap());
    assert_eq!(counted, (THREADS * ROUNDS) as u64 + 1);
}

#[test]
fn readers_and_committers_of_one_pair() {
    let (block, pages) = (OwnedLock::new().unwrap(), pages());
    let owned = pages.take_exclusive(0..2 * LEN).unwrap();
    let pair = owned.into_double(block.lock());
    let options = LockOptions::default();
    in_threads(|number| {
        if number < 2 {
            let mut held = block.lock().commit(options).unwrap();
            let (last, next) = pair.both(&mut held);
            next.fill(last[0].wrapping_add(1));
            held.publish();
        } else {
            let held = block.lock().read(options).unwrap();
            assert_whole(pair.bytes(&held));
        }
    });
    let held = block.lock().read(options).unwrap();
    assert_eq!(held.commits(), 2 * ROUNDS as u64);
    assert_eq!(usize::from(pair.bytes(&held)[0]), 2 * ROUNDS % 256);
}
