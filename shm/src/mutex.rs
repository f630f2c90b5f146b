use std::sync::Arc;

use numpush_shm_core::{LockError, LockOptions, MutexHold};
use serde::{Deserialize, Serialize};

use crate::arena::Arena;
use crate::error::Error;
use crate::object::{Describe, Handle, Object, RawObject, Spans, make_locks};

/// A mutex between processes, for what is not in shared memory: a file, a device, a port.
///
/// Clones are the same mutex, and so is what another process gets when it is sent. If its holder dies, the next to lock
/// it gets the mutex, and the guard reports the death.
///
/// ```
/// use std::time::Duration;
///
/// use numpush_shm::{LockError, LockOptions, SharedMutex};
///
/// let mutex = SharedMutex::new()?;
/// let held = mutex.lock()?;
/// assert!(!held.owner_died());
/// let options = LockOptions::new().timeout(Duration::from_millis(5));
/// std::thread::scope(|scope| {
///     let refused = scope.spawn(|| mutex.lock_with(options).map(drop)).join().unwrap();
///     assert!(matches!(refused, Err(LockError::Timeout { .. })));
/// });
/// # Ok::<(), numpush_shm::Error>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SharedMutex {
    object: Object<MutexDescription>,
}

/// A [`SharedMutex`] while it is held. Its drop unlocks the mutex.
#[derive(Debug)]
#[must_use = "dropped at once, it unlocks at once"]
pub struct SharedMutexGuard<'a> {
    held: MutexHold,
    mutex: &'a SharedMutex,
}

/// A mutex guards nothing, so nothing is described.
#[derive(Debug, Serialize, Deserialize)]
struct MutexDescription;

impl Describe for MutexDescription {
    const KIND: &'static str = "a mutex";
    type Sent = Self;

    fn sent(&self) -> &Self {
        self
    }

    fn receive(sent: Self, _spans: &Spans) -> Result<Self, Error> {
        Ok(sent)
    }

    fn summary(_sent: &Self) -> String {
        "mutex".into()
    }
}

impl SharedMutex {
    /// Makes a mutex that nobody holds.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::NoRoom`] if there is no memory for it.
    pub fn new() -> Result<Self, Error> {
        let nothing = Arena::shared().reserve(0)?;
        let (claims, homes) = (vec![nothing.claimed], vec![nothing.home]);
        let object = Object::new(MutexDescription, claims, make_locks(1)?, homes);
        Ok(Self { object })
    }

    pub(crate) const KIND: &str = MutexDescription::KIND;

    pub(crate) fn from_raw(raw: Arc<RawObject>) -> Result<Self, Error> {
        Object::from_raw(raw).map(|object| Self { object })
    }

    /// Opens the mutex of a handle.
    ///
    /// # Errors
    /// [`Error::Stale`] if the mutex is gone; [`Error::Busy`] if its owner does not answer within ten seconds;
    /// [`Error::Kind`] if the handle is of another kind of value.
    pub fn open(handle: &Handle) -> Result<Self, Error> {
        Object::open(handle).map(|object| Self { object })
    }

    /// The handle by which another process opens the mutex.
    ///
    /// # Errors
    /// As [`SharedArray::handle`](crate::SharedArray::handle).
    pub fn handle(&self) -> Result<Handle, Error> {
        self.object.handle()
    }

    /// Locks the mutex. Waits while somebody else holds it.
    ///
    /// # Errors
    /// [`LockError::WouldDeadlock`] if this thread holds it already; [`LockError::TooMany`].
    #[inline]
    pub fn lock(&self) -> Result<SharedMutexGuard<'_>, LockError> {
        self.lock_with(LockOptions::default())
    }

    /// As [`Self::lock`], without a wait.
    ///
    /// # Errors
    /// As [`Self::lock`]; [`LockError::Timeout`] names the holder, at once.
    #[inline]
    pub fn try_lock(&self) -> Result<SharedMutexGuard<'_>, LockError> {
        self.lock_with(LockOptions::no_wait())
    }

    /// As [`Self::lock`], with a timeout.
    ///
    /// # Errors
    /// As [`Self::lock`]; [`LockError::Timeout`] names the holder.
    #[inline]
    pub fn lock_with(&self, options: LockOptions) -> Result<SharedMutexGuard<'_>, LockError> {
        Ok(SharedMutexGuard {
            held: self.object.spans().lock().mutex(options)?,
            mutex: self,
        })
    }
}

impl<'a> SharedMutexGuard<'a> {
    /// Unlocks the mutex, and returns it.
    pub(crate) fn unlock(self) -> &'a SharedMutex {
        self.mutex
    }

    /// True if the last holder died with the mutex, so that what it guards may be half done.
    pub fn owner_died(&self) -> bool {
        self.held.owner_died()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn one_holder_at_a_time() {
        let mutex = SharedMutex::new().unwrap();
        let held = mutex.lock().unwrap();
        assert!(!held.owner_died());
        assert!(matches!(mutex.lock(), Err(LockError::WouldDeadlock)));
        let soon = LockOptions::new().timeout(Duration::from_millis(5));
        let other = std::thread::scope(|scope| {
            scope
                .spawn(|| mutex.lock_with(soon).is_err())
                .join()
                .unwrap()
        });
        assert!(other);
        drop(held);
        assert!(mutex.lock().is_ok());
    }

    #[test]
    fn a_thread_that_ends_with_it_is_reported() {
        let mutex = SharedMutex::new().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                #[expect(clippy::mem_forget, reason = "the thread dies with the lock")]
                std::mem::forget(mutex.lock().unwrap());
            });
        });
        assert!(mutex.lock().unwrap().owner_died());
        assert!(!mutex.lock().unwrap().owner_died());
    }
}
