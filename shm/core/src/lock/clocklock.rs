//! A mutex of the C library with a deadline, in old and new C libraries.

use std::sync::atomic::{AtomicPtr, Ordering};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

type ClockLock = unsafe extern "C" fn(
    *mut libc::pthread_mutex_t,
    libc::clockid_t,
    *const libc::timespec,
) -> libc::c_int;

/// Locks `mutex`, waiting until `deadline` of CLOCK_MONOTONIC at most. Returns what the C library answers.
///
/// # Safety
/// `mutex` is an initialised mutex, in memory that stays mapped.
pub(super) unsafe fn lock_until(
    mutex: *mut libc::pthread_mutex_t,
    deadline: Duration,
) -> libc::c_int {
    let until = timespec(deadline);
    match clocklock() {
        // SAFETY: as the caller says; `until` lives as long as the call.
        Some(lock) => unsafe { lock(mutex, libc::CLOCK_MONOTONIC, &raw const until) },
        // SAFETY: as the caller says.
        None => unsafe { lock_by_wall_clock(mutex, deadline) },
    }
}

/// glibc has had it since 2.30, and musl has it not. A program that was linked to it would not start without it.
fn clocklock() -> Option<ClockLock> {
    // Not known yet; no address of a function. A `Once` would keep a child of a fork waiting.
    const UNKNOWN: *mut libc::c_void = std::ptr::without_provenance_mut(1);
    static FOUND: AtomicPtr<libc::c_void> = AtomicPtr::new(UNKNOWN);
    let mut found = FOUND.load(Ordering::Relaxed);
    if found == UNKNOWN {
        // SAFETY: the name ends with a zero byte.
        found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"pthread_mutex_clocklock".as_ptr()) };
        FOUND.store(found, Ordering::Relaxed);
    }
    // SAFETY: the symbol of this name has this type, in every C library that has it; null is `None`.
    unsafe { std::mem::transmute::<*mut libc::c_void, Option<ClockLock>>(found) }
}

/// Waits by the wall clock, in short steps: one that is set forward ends a step early, and the next goes on.
///
/// # Safety
/// As for [`lock_until`].
unsafe fn lock_by_wall_clock(mutex: *mut libc::pthread_mutex_t, deadline: Duration) -> libc::c_int {
    loop {
        let left = deadline.saturating_sub(time_of(ClockId::CLOCK_MONOTONIC));
        let until = timespec(time_of(ClockId::CLOCK_REALTIME) + left.min(STEP));
        // SAFETY: as the caller says; `until` lives as long as the call.
        let result = unsafe { libc::pthread_mutex_timedlock(mutex, &raw const until) };
        if result != libc::ETIMEDOUT || left <= STEP {
            return result;
        }
    }
}

const STEP: Duration = Duration::from_secs(1);

fn time_of(clock: ClockId) -> Duration {
    clock_gettime(clock).map_or(Duration::ZERO, Duration::from)
}

fn timespec(time: Duration) -> libc::timespec {
    let seconds = libc::time_t::try_from(time.as_secs()).unwrap_or(libc::time_t::MAX);
    libc::timespec {
        tv_sec: seconds,
        tv_nsec: time.subsec_nanos().into(),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::UnsafeCell;

    use super::*;

    struct Mutex(UnsafeCell<libc::pthread_mutex_t>);

    // SAFETY: it is made for use by many threads.
    unsafe impl Sync for Mutex {}

    type Lock = unsafe fn(*mut libc::pthread_mutex_t, Duration) -> libc::c_int;

    #[test]
    fn both_ways_end_at_the_deadline_and_not_before() {
        for lock in [lock_until as Lock, lock_by_wall_clock as Lock] {
            let mutex = Mutex(UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER));
            let until = |wait| time_of(ClockId::CLOCK_MONOTONIC) + wait;
            // SAFETY: an initialised mutex, alive until the end of the block.
            assert_eq!(unsafe { lock(mutex.0.get(), until(STEP)) }, 0);
            let wait = Duration::from_millis(30);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let mutex = &mutex;
                    let deadline = until(wait);
                    // SAFETY: as above.
                    let result = unsafe { lock(mutex.0.get(), deadline) };
                    assert_eq!(result, libc::ETIMEDOUT);
                    assert!(time_of(ClockId::CLOCK_MONOTONIC) >= deadline);
                });
            });
        }
    }
}
