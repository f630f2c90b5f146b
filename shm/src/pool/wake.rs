//! How the threads of a pool wake each other.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, MutexGuard, PoisonError};
use std::time::Instant;

/// Wakes a thread that waits for another to do the work.
///
/// Both sides hold the lock of the pool, so that nothing is missed.
#[derive(Debug, Default)]
pub(super) struct Wake {
    condvar: Condvar,
    /// A condition variable makes a system call for every notice, even if nobody waits.
    waits: AtomicBool,
}

impl Wake {
    /// Waits for a notice, or until then.
    pub(super) fn wait<'s, T>(
        &self,
        state: MutexGuard<'s, T>,
        until: Option<Instant>,
    ) -> MutexGuard<'s, T> {
        self.waits.store(true, Ordering::Relaxed);
        let state = match until {
            None => self.condvar.wait(state),
            Some(until) => {
                let left = until.saturating_duration_since(Instant::now());
                let woken = self.condvar.wait_timeout(state, left);
                woken
                    .map(|(state, _)| state)
                    .map_err(|error| PoisonError::new(error.into_inner().0))
            }
        };
        self.waits.store(false, Ordering::Relaxed);
        state.unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn notify(&self) {
        if self.waits.load(Ordering::Relaxed) {
            self.condvar.notify_one();
        }
    }
}

/// Wakes a thread that waits for descriptors.
#[derive(Debug)]
pub(super) struct Waker {
    write: UnixStream,
    read: UnixStream,
}

impl Waker {
    pub(super) fn new() -> io::Result<Self> {
        let (write, read) = UnixStream::pair()?;
        Ok(Self { write, read })
    }

    /// Makes the descriptor ready for reading.
    pub(super) fn wake(&self) {
        // If it is full, it is ready.
        let _ = numpush_os::send(&self.write, &[io::IoSlice::new(&[0])], false);
    }

    /// Makes it ready no more.
    pub(super) fn clear(&self) {
        let _ = numpush_os::receive(&self.read, &mut [0; 64], false);
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.read.as_fd()
    }
}
