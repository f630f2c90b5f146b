use std::sync::Arc;
use std::time::Duration;

use numpush_shm_core::{LockOptions, MutexHold};

use crate::arena::Arena;
use crate::client;
use crate::error::Error;
use crate::handle::Handle;
use crate::object::{Descriptor, Locks, Object};

/// A mutex between processes, for what is not in shared memory: a file, a device, a port.
///
/// Clones are the same mutex, and so is what another process gets when it is sent. If its holder dies, the next to lock
/// it is told; nobody waits for the dead.
#[derive(Clone, Debug)]
pub struct SharedMutex {
    value: Arc<Object>,
}

/// The mutex, held until this is dropped.
#[derive(Debug)]
pub struct SharedMutexGuard<'a> {
    held: MutexHold,
    _mutex: &'a SharedMutex,
}

impl SharedMutex {
    /// A mutex that nobody holds.
    ///
    /// # Errors
    /// [`Error::Io`] if no memory for locks can be had.
    pub fn new() -> Result<Self, Error> {
        let nothing = Arena::shared().reserve(0)?;
        Ok(Self {
            value: Object::new(
                Descriptor::Mutex,
                vec![nothing.claimed],
                Locks::One,
                vec![nothing.home],
            )?,
        })
    }

    /// Opens the mutex behind a handle.
    ///
    /// # Errors
    /// [`Error::Stale`], and [`Error::Kind`] if it is none.
    pub fn open(handle: &Handle) -> Result<Self, Error> {
        Self::from_value(client::open(handle)?)
    }

    pub(crate) fn from_value(value: Arc<Object>) -> Result<Self, Error> {
        match value.meta {
            Descriptor::Mutex => Ok(Self { value }),
            _ => Err(Error::Kind {
                found: value.meta.kind(),
                wanted: "a mutex",
            }),
        }
    }

    /// The name by which another process opens it.
    ///
    /// # Errors
    /// As [`SharedArray::handle`](crate::SharedArray::handle).
    pub fn handle(&self) -> Result<Handle, Error> {
        self.value.handle()
    }

    /// Locks it, and waits as long as it takes.
    ///
    /// # Errors
    /// [`Error::Lock`].
    pub fn lock(&self) -> Result<SharedMutexGuard<'_>, Error> {
        self.attempt(None)
    }

    /// Locks it, and waits at most `timeout`.
    ///
    /// # Errors
    /// [`Error::Lock`], with [`Timeout`](numpush_shm_core::LockError::Timeout) that names the holder.
    pub fn lock_for(&self, timeout: Duration) -> Result<SharedMutexGuard<'_>, Error> {
        self.attempt(Some(timeout))
    }

    fn attempt(&self, timeout: Option<Duration>) -> Result<SharedMutexGuard<'_>, Error> {
        // The one span has the one lock.
        let lock = self.value.guarded()[0].lock();
        Ok(SharedMutexGuard {
            held: lock.mutex(LockOptions {
                timeout,
                accept_poison: false,
            })?,
            _mutex: self,
        })
    }
}

impl SharedMutexGuard<'_> {
    /// True if the holder before died with the mutex, so that what it guards may be half done.
    pub fn owner_died(&self) -> bool {
        self.held.owner_died()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use numpush_shm_core::LockError;

    #[test]
    fn one_holder_at_a_time() {
        let mutex = SharedMutex::new().unwrap();
        let held = mutex.lock().unwrap();
        assert!(!held.owner_died());
        assert!(matches!(
            mutex.lock(),
            Err(Error::Lock(LockError::WouldDeadlock))
        ));
        let other = std::thread::scope(|scope| {
            scope
                .spawn(|| mutex.lock_for(Duration::from_millis(5)).is_err())
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
