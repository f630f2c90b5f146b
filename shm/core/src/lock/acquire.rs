//! The five ways to take a lock, each with the hold it returns.

use std::sync::atomic::Ordering;

use super::error::LockError;
use super::guards::{CommitHold, MutexHold, ReadHold, WriteHold};
use super::held;
use super::options::LockOptions;
use super::robust::Acquired;
use super::rw::RobustRwLock;
use super::wait::Wait;

impl RobustRwLock {
    /// Takes the lock for reading, beside other readers.
    ///
    /// # Errors
    /// [`LockError`].
    pub fn read(self, options: LockOptions) -> Result<ReadHold, LockError> {
        held::enter(self.id(), 1)?;
        self.enter_shared(options)
            .map(|slot| ReadHold::new(self, slot, 0))
            .inspect_err(|_| held::leave(self.id(), 1))
    }

    /// Takes the lock for writing, alone.
    ///
    /// # Errors
    /// [`LockError`].
    pub fn write(self, options: LockOptions) -> Result<WriteHold, LockError> {
        let mutexes = self.slots.len() + 1;
        held::enter(self.id(), mutexes)?;
        let entered = self.enter_exclusive(options);
        entered
            .map(|poison| WriteHold::new(self, poison))
            .inspect_err(|_| held::leave(self.id(), mutexes))
    }

    /// Takes the lock as a plain mutex, which guards no bytes: what it guards is the caller's, and its to repair.
    ///
    /// # Errors
    /// [`LockError`], never with poison.
    pub fn mutex(self, options: LockOptions) -> Result<MutexHold, LockError> {
        held::enter(self.id(), 1)?;
        let mut wait = Wait::new(self.head, options.timeout);
        let writer = &self.head.writer;
        let taken = match writer.try_lock() {
            Some(taken) => Ok(taken),
            None => wait.for_mutex(writer),
        };
        let checked = taken.and_then(|taken| {
            self.note(taken);
            writer.record_holder();
            self.check_generation()
                .inspect_err(|_| self.unlock_writer())
                .map(|()| taken == Acquired::OwnerDied)
        });
        let owner_died = checked.inspect_err(|_| held::leave(self.id(), 1))?;
        Ok(MutexHold::new(self, owner_died))
    }

    /// Takes the lock to write the buffer nobody reads, beside readers of the other.
    ///
    /// # Errors
    /// [`LockError`], never with poison: a commit that was not finished has changed nothing that is read.
    pub fn commit(self, options: LockOptions) -> Result<CommitHold, LockError> {
        held::enter(self.id(), 2)?;
        let mut wait = Wait::new(self.head, options.timeout);
        let entered = self.lock_writer(&mut wait).and_then(|()| {
            // A reader that is still in the buffer read before the last commit ends in a slot we pass.
            let current = self.head.commit.active.load(Ordering::Acquire);
            let drained = self
                .check_generation()
                .and_then(|()| self.drain(&mut wait, Some(current)));
            drained.inspect_err(|_| self.unlock_writer())
        });
        entered.inspect_err(|_| held::leave(self.id(), 2))?;
        let active = self.head.commit.active.load(Ordering::Acquire);
        Ok(CommitHold::new(self, active))
    }

    /// Joins the work on parts that were handed out in `epoch`; it lasts until the value is dropped.
    ///
    /// # Errors
    /// [`LockError::Retired`] if the parts were taken back.
    pub fn join_parts(self, epoch: u64, options: LockOptions) -> Result<ReadHold, LockError> {
        held::enter(self.id(), 1)?;
        let mut wait = Wait::new(self.head, options.timeout);
        let joined = self.take_slot(&mut wait).and_then(|slot| {
            let current = self.check_generation().is_ok()
                && self.head.epoch.parts.load(Ordering::Acquire) == epoch;
            if current {
                return Ok(slot);
            }
            slot.unlock();
            Err(LockError::Retired)
        });
        joined
            .map(|slot| ReadHold::new(self, slot, epoch))
            .inspect_err(|_| held::leave(self.id(), 1))
    }
}
