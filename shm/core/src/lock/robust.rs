//! The kernel's robust mutex between processes, in memory that is never unmapped.

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::lock::clocklock::lock_until;
use crate::lock::futex::Futex;
use crate::lock::identity::this_thread;

/// A pthread mutex: robust, process-shared, of the NORMAL type; pthread_mutexattr_setrobust(3).
///
/// NORMAL, because an error-checking one compares thread ids, which are not unique across pid namespaces. The kernel
/// marks it when its holder dies, by whatever cause, and the next to lock it is told.
///
/// # Invariants
/// 1. It lies in a lock table, which stays mapped while a thread of this process holds it or tries to: the kernel walks the
///    list of held robust mutexes when a thread ends, and writes to them. A thread that holds or tries one has a
///    [`Place`](super::place::Place) in the table; or it borrows a [`RobustRwLock`](super::RobustRwLock) of the table for as
///    long, as an owner that ends the lock's life does.
/// 2. It was initialised by its maker before anybody else could learn of it.
#[repr(C, align(64))]
#[derive(Debug)]
pub(crate) struct Robust {
    mutex: UnsafeCell<libc::pthread_mutex_t>,
    /// Who holds it: the process, and the thread in the upper half; the process is 0 if nobody does. Only for reports: the
    /// mutex decides.
    holder: AtomicU64,
    /// When it was taken, in nanoseconds of CLOCK_MONOTONIC_COARSE.
    since: AtomicU64,
}

/// How long a thread sleeps for a mutex before it looks whether the mutex is free. The kernel wakes one who sleeps. If that
/// one is killed before it has the mutex, and a thread that knows of no sleepers had the mutex meanwhile, nobody wakes the
/// others: seen when all but one of those who wanted a lock were killed at once.
const LOOK: Duration = Duration::from_millis(100);

// glibc's mutex has 48 bytes on aarch64, and 40 elsewhere.
const _: () = assert!(
    size_of::<Robust>() == 64,
    "a mutex has a cache line of its own"
);

// SAFETY: the mutex is made for use by many threads, and every other field is atomic.
unsafe impl Sync for Robust {}

/// How a mutex was come by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acquired {
    Clean,
    /// Its holder died; the mutex itself is repaired.
    OwnerDied,
}

/// Who holds a lock, as far as it can be told: the holder may let go at any moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Holder {
    /// Its process; 0 if it is not known (it has just taken it, or has just let go).
    pub pid: u32,
    /// Its thread.
    pub tid: u32,
    /// How long it has held the lock, to 4 ms. Not known of a reader or of a plain mutex, who would
    /// have to read the clock.
    pub held_for: Option<Duration>,
}

impl Robust {
    /// Makes it a mutex that nobody holds.
    ///
    /// # Safety
    /// `mutex` points into a lock table and nobody else knows of it (invariants 1 and 2 begin here).
    pub(crate) unsafe fn initialise(mutex: *mut Self) -> std::io::Result<()> {
        let mut attributes = std::mem::MaybeUninit::<libc::pthread_mutexattr_t>::uninit();
        let attributes = attributes.as_mut_ptr();
        // SAFETY: room for the attributes; each call below gets what this one initialised.
        check(unsafe { libc::pthread_mutexattr_init(attributes) })?;
        // SAFETY: initialised above.
        check(unsafe {
            libc::pthread_mutexattr_setpshared(attributes, libc::PTHREAD_PROCESS_SHARED)
        })?;
        // SAFETY: initialised above.
        check(unsafe {
            libc::pthread_mutexattr_setrobust(attributes, libc::PTHREAD_MUTEX_ROBUST)
        })?;
        // SAFETY: the caller's pointer is valid; UnsafeCell has the layout of what is in it, and it is the first field.
        let result = unsafe { libc::pthread_mutex_init(mutex.cast(), attributes) };
        // SAFETY: initialised above, and not used again.
        let _ = unsafe { libc::pthread_mutexattr_destroy(attributes) };
        check(result)
    }

    /// Takes it if that needs no wait.
    #[inline]
    pub(crate) fn try_lock(&self) -> Option<Acquired> {
        // SAFETY: invariants 1 and 2.
        let result = unsafe { libc::pthread_mutex_trylock(self.mutex.get()) };
        self.taken(result)
    }

    /// Takes it, waiting until `deadline` (of CLOCK_MONOTONIC) or forever; `None` if the deadline passed.
    pub(crate) fn lock(&self, deadline: Option<Duration>) -> Option<Acquired> {
        loop {
            let look = now() + LOOK;
            let until = deadline.map_or(look, |deadline| deadline.min(look));
            // SAFETY: invariants 1 and 2.
            let result = unsafe { lock_until(self.mutex.get(), until) };
            if result != libc::ETIMEDOUT || deadline == Some(until) {
                return self.taken(result);
            }
        }
    }

    /// What the C library's answer means, with the mutex made consistent if its holder died.
    #[inline]
    fn taken(&self, result: libc::c_int) -> Option<Acquired> {
        match result {
            0 => Some(Acquired::Clean),
            libc::EOWNERDEAD => Some(self.inherited()),
            _ => None,
        }
    }

    #[cold]
    fn inherited(&self) -> Acquired {
        // SAFETY: invariants 1 and 2; this thread holds it, which the call asks for.
        let _ = unsafe { libc::pthread_mutex_consistent(self.mutex.get()) };
        self.clear_holder();
        Acquired::OwnerDied
    }

    /// Asks the kernel to wake one who sleeps on the mutex's word when its holder dies. Returns the word, and what it is for
    /// as long as this holder lives and keeps the mutex; `None` if nobody holds it.
    pub(crate) fn watch(&self) -> Option<(&Futex, u32)> {
        let futex = self.word();
        loop {
            let word = futex.load();
            if word & libc::FUTEX_TID_MASK == 0 {
                return None;
            }
            let watched = word | libc::FUTEX_WAITERS;
            if word == watched || futex.replace(word, watched) {
                return Some((futex, watched));
            }
        }
    }

    /// The word of the mutex that the kernel knows, of the format of a robust futex: set_robust_list(2). A thread that waits
    /// for the mutex marks it in the same way.
    fn word(&self) -> &Futex {
        let words = self.mutex.get().cast::<Futex>();
        // SAFETY: inside the mutex, in both C libraries.
        let word = unsafe { words.add(WORD) };
        // SAFETY: invariants 1 and 2; whoever else uses the word does so with atomic operations.
        unsafe { &*word }
    }

    /// Says that this thread holds it, for reports. A writer says so of one mutex and not of every slot it takes.
    #[inline]
    pub(crate) fn record_holder(&self) {
        self.record_thread();
        self.since.store(coarse_nanos(), Ordering::Relaxed);
    }

    /// Says that this thread holds it, and not since when: the clock costs a fifth of an uncontended lock.
    #[inline]
    pub(crate) fn record_thread(&self) {
        let me = this_thread();
        let holder = u64::from(me.pid) | u64::from(me.tid) << 32;
        self.since.store(0, Ordering::Relaxed);
        self.holder.store(holder, Ordering::Relaxed);
    }

    /// Says that nobody holds it; before it is let go.
    #[inline]
    pub(crate) fn clear_holder(&self) {
        self.holder.store(0, Ordering::Relaxed);
    }

    /// Lets go. A thread that does not hold it changes nothing: a robust mutex checks its owner.
    #[inline]
    pub(crate) fn unlock(&self) {
        // SAFETY: invariants 1 and 2.
        let _ = unsafe { libc::pthread_mutex_unlock(self.mutex.get()) };
    }

    /// Lets go, and says that nobody holds it.
    #[inline]
    pub(crate) fn release(&self) {
        self.clear_holder();
        self.unlock();
    }

    /// Who holds it, or died holding it and nobody has come since.
    pub(crate) fn holder(&self) -> Option<Holder> {
        let holder = self.holder.load(Ordering::Relaxed);
        let [pid, tid] = [holder, holder >> 32].map(half);
        let since = self.since.load(Ordering::Relaxed);
        (pid != 0).then(|| Holder {
            pid,
            tid,
            held_for: (since != 0)
                .then(|| Duration::from_nanos(coarse_nanos().saturating_sub(since))),
        })
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the lower half is meant")]
fn half(word: u64) -> u32 {
    word as u32
}

/// Where in a mutex its word lies: glibc has it first, musl after the type.
const WORD: usize = if cfg!(target_env = "musl") { 1 } else { 0 };

fn check(result: libc::c_int) -> std::io::Result<()> {
    if result == 0 {
        Ok(())
    } else {
        Err(std::io::Error::from_raw_os_error(result))
    }
}

/// Time since some start, the same for every process of the machine.
pub(crate) fn now() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from)
}

/// The same in nanoseconds, to 4 ms, for a fraction of the price: it is paid by every lock.
#[inline]
fn coarse_nanos() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the kernel writes one timespec, or nothing.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &raw mut time) };
    time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
}

#[cfg(test)]
mod tests {
    use crate::lock::table::LockTable;

    use super::*;

    #[test]
    fn the_word_of_a_mutex_is_where_the_kernel_looks_for_it() {
        let table = LockTable::create(1, 2).unwrap();
        let mutex = &table.lock(0, 0).head.writer;
        assert!(mutex.watch().is_none());
        assert!(mutex.try_lock().is_some());
        let (_, word) = mutex.watch().unwrap();
        assert_eq!(word & libc::FUTEX_TID_MASK, this_thread().tid);
        mutex.unlock();
        assert!(mutex.watch().is_none());
    }

    #[test]
    fn a_sleeper_that_nobody_wakes_finds_the_mutex_free() {
        let table = LockTable::create(1, 2).unwrap();
        let mutex = &table.lock(0, 0).head.writer;
        assert!(mutex.try_lock().is_some());
        std::thread::scope(|scope| {
            let sleeper = scope.spawn(|| mutex.lock(None));
            // It has marked the word, and sleeps or is about to.
            while mutex.word().load() & libc::FUTEX_WAITERS == 0 {
                std::thread::yield_now();
            }
            // As of a holder that lets go and is killed before its call to wake.
            let word = mutex.word().load();
            assert!(mutex.word().replace(word, 0));
            assert_eq!(sleeper.join().unwrap(), Some(Acquired::Clean));
        });
    }
}
