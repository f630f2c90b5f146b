//! pthread's locks between processes, to compare with.
#![expect(unsafe_code, reason = "they are C")]

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::time::Duration;

// As POSIX has it; the crate libc does not.
unsafe extern "C" {
    fn pthread_rwlock_timedwrlock(
        lock: *mut libc::pthread_rwlock_t,
        until: *const libc::timespec,
    ) -> libc::c_int;
}

/// A pthread mutex, in a box because it must not move.
pub(crate) struct Mutex(Box<UnsafeCell<libc::pthread_mutex_t>>);

/// A pthread lock for readers and writers, which prefers readers unless it is told otherwise.
pub(crate) struct RwLock(Box<UnsafeCell<libc::pthread_rwlock_t>>);

// SAFETY: it is made for use by many threads.
unsafe impl Sync for RwLock {}

impl Mutex {
    pub(crate) fn new(robust: bool) -> Self {
        let mutex = Box::new(UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER));
        let mut attributes = MaybeUninit::uninit();
        let shared = libc::PTHREAD_PROCESS_SHARED;
        // SAFETY: room for attributes, which this call initialises.
        unsafe { libc::pthread_mutexattr_init(attributes.as_mut_ptr()) };
        // SAFETY: initialised above.
        unsafe { libc::pthread_mutexattr_setpshared(attributes.as_mut_ptr(), shared) };
        if robust {
            let robust = libc::PTHREAD_MUTEX_ROBUST;
            // SAFETY: initialised above.
            unsafe { libc::pthread_mutexattr_setrobust(attributes.as_mut_ptr(), robust) };
        }
        // SAFETY: both are initialised, and nobody uses the mutex yet.
        unsafe { libc::pthread_mutex_init(mutex.get(), attributes.as_ptr()) };
        Self(mutex)
    }

    /// Locks and unlocks.
    pub(crate) fn pair(&self) {
        // SAFETY: an initialised mutex in a box.
        unsafe { libc::pthread_mutex_lock(self.0.get()) };
        // SAFETY: as above, and locked.
        unsafe { libc::pthread_mutex_unlock(self.0.get()) };
    }
}

impl RwLock {
    pub(crate) fn new() -> Self {
        let lock = Box::new(UnsafeCell::new(libc::PTHREAD_RWLOCK_INITIALIZER));
        let mut attributes = MaybeUninit::uninit();
        let shared = libc::PTHREAD_PROCESS_SHARED;
        // SAFETY: room for attributes, which this call initialises.
        unsafe { libc::pthread_rwlockattr_init(attributes.as_mut_ptr()) };
        // SAFETY: initialised above.
        unsafe { libc::pthread_rwlockattr_setpshared(attributes.as_mut_ptr(), shared) };
        // SAFETY: both are initialised, and nobody uses the lock yet.
        unsafe { libc::pthread_rwlock_init(lock.get(), attributes.as_ptr()) };
        Self(lock)
    }

    /// Calls `inside` while the lock is held for reading.
    pub(crate) fn read(&self, inside: impl FnOnce()) {
        // SAFETY: an initialised lock in a box.
        unsafe { libc::pthread_rwlock_rdlock(self.0.get()) };
        inside();
        // SAFETY: as above, and locked.
        unsafe { libc::pthread_rwlock_unlock(self.0.get()) };
    }

    /// Takes the lock for writing and lets it go. Returns false if that takes longer than `most`.
    pub(crate) fn write_within(&self, most: Duration) -> bool {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let until = now.unwrap_or_default() + most;
        let until = libc::timespec {
            tv_sec: until.as_secs().try_into().unwrap_or(libc::time_t::MAX),
            tv_nsec: until.subsec_nanos().into(),
        };
        // SAFETY: an initialised lock in a box; the time lives as long as the call.
        let taken = unsafe { pthread_rwlock_timedwrlock(self.0.get(), &raw const until) };
        if taken == 0 {
            // SAFETY: as above, and locked.
            unsafe { libc::pthread_rwlock_unlock(self.0.get()) };
        }
        taken == 0
    }
}
