//! How a thread waits for the mutexes of a lock.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::atomic::AtomicU32;
use super::error::LockError;
use super::identity::this_thread;
use super::robust::{Acquired, Robust, now};
use super::words::Head;

/// A wait with one deadline for all the mutexes it takes. Reads the clock only once it has to.
pub(super) struct Wait {
    head: &'static Head,
    timeout: Option<Duration>,
    deadline: Option<Duration>,
}

impl Wait {
    pub(super) fn new(head: &'static Head, timeout: Option<Duration>) -> Self {
        Self {
            head,
            timeout,
            deadline: None,
        }
    }

    #[cold]
    pub(super) fn for_mutex(&mut self, mutex: &'static Robust) -> Result<Acquired, LockError> {
        let deadline = self.deadline();
        let taken = self.announced(|| mutex.lock(deadline));
        taken.ok_or_else(|| self.timed_out(mutex))
    }

    /// Waits for a millisecond; `None` if that was not enough.
    #[cold]
    pub(super) fn a_moment_for(
        &mut self,
        mutex: &'static Robust,
    ) -> Result<Option<Acquired>, LockError> {
        let (deadline, soon) = (self.deadline(), now() + Duration::from_millis(1));
        let until = deadline.map_or(soon, |deadline| deadline.min(soon));
        let taken = self.announced(|| mutex.lock(Some(until)));
        if taken.is_none() && deadline.is_some_and(|deadline| deadline <= now()) {
            return Err(self.timed_out(mutex));
        }
        Ok(taken)
    }

    fn deadline(&mut self) -> Option<Duration> {
        let timeout = self.timeout?;
        Some(
            *self
                .deadline
                .get_or_insert_with(|| now().saturating_add(timeout)),
        )
    }

    fn timed_out(&self, mutex: &Robust) -> LockError {
        LockError::Timeout {
            after: self.timeout.unwrap_or_default(),
            holder: mutex.holder(),
        }
    }

    /// Calls `wait` with this process among those that wait.
    fn announced<R>(&self, wait: impl FnOnce() -> R) -> R {
        let pid = this_thread().pid;
        let free = |entry: &&AtomicU32| {
            entry
                .compare_exchange(0, pid, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        };
        let entry = self.head.waiting.0.iter().find(free);
        let result = wait();
        if let Some(entry) = entry {
            entry.store(0, Ordering::Relaxed);
        }
        result
    }
}
