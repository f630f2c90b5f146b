//! A lock that is held, in each of the ways it can be.

use std::marker::PhantomData;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::error::{LockError, Poison, PoisonCause};
use super::held;
use super::identity::forks;
use super::robust::Robust;
use super::rw::RobustRwLock;
use super::wait::Wait;
use super::words::CLOSING;

/// The lock, held for reading. Ends when dropped, in the thread that took it.
#[must_use = "dropped at once, it unlocks at once"]
#[derive(Debug)]
pub struct ReadHold {
    lock: RobustRwLock,
    slot: &'static Robust,
    /// The epoch of the parts that were joined, 0 for a plain reader.
    parts: u64,
    forks: u32,
    /// A mutex is let go by the thread that took it.
    not_send: PhantomData<*const ()>,
}

impl ReadHold {
    pub(super) fn new(lock: RobustRwLock, slot: &'static Robust, parts: u64) -> Self {
        slot.record_holder();
        slot.reads.store(
            lock.head.commit.active.load(Ordering::Acquire),
            Ordering::Release,
        );
        Self {
            lock,
            slot,
            parts,
            forks: forks(),
            not_send: PhantomData,
        }
    }

    /// The lock that is held.
    pub fn lock(&self) -> RobustRwLock {
        self.lock
    }

    /// What an unfinished write left, if the lock was taken nevertheless.
    pub fn poison(&self) -> Option<Poison> {
        self.lock.is_dirty().then(|| self.lock.poison())
    }

    /// True if this guard opens what `lock` guards: the same lock, and not for the sake of a part.
    pub(crate) fn guards(&self, lock: RobustRwLock) -> bool {
        self.lock.is(lock) && self.parts == 0
    }

    /// The epoch of the parts that are handed out, if any are and may be worked on.
    pub(crate) fn parts(&self) -> Option<u64> {
        let parts = self.lock.head.epoch.parts.load(Ordering::Acquire);
        (parts != 0)
            .then_some(self.parts)
            .filter(|&epoch| epoch != 0)
    }

    /// Commits so far; the last bit says which of two buffers they are in. Both the buffer of this number and that of
    /// any later one stay as they are for as long as the lock is held.
    pub fn commits(&self) -> u64 {
        self.lock.head.commit.active.load(Ordering::Acquire)
    }
}

impl Drop for ReadHold {
    fn drop(&mut self) {
        if self.forks == forks() {
            self.slot.clear_holder();
            self.slot.unlock();
            held::leave(self.lock.id(), 1);
        }
    }
}

/// The lock, held for writing. Ends when dropped, in the thread that took it; a panic on the way poisons the lock.
#[must_use = "dropped at once, it unlocks at once"]
#[derive(Debug)]
pub struct WriteHold {
    lock: RobustRwLock,
    poison: Option<Poison>,
    partitioned: bool,
    unwound: bool,
    forks: u32,
    not_send: PhantomData<*const ()>,
}

impl WriteHold {
    pub(super) fn new(lock: RobustRwLock, poison: Option<Poison>) -> Self {
        let unwound = std::thread::panicking();
        Self {
            lock,
            poison,
            partitioned: false,
            unwound,
            forks: forks(),
            not_send: PhantomData,
        }
    }

    /// The lock that is held.
    pub fn lock(&self) -> RobustRwLock {
        self.lock
    }

    /// True if this guard opens what `lock` guards: the same lock, and no parts handed out.
    pub(crate) fn guards(&self, lock: RobustRwLock) -> bool {
        self.lock.is(lock) && !self.partitioned
    }

    /// What an unfinished write left, if the lock was taken nevertheless.
    pub fn poison(&self) -> Option<&Poison> {
        self.poison.as_ref()
    }

    /// Says that what the lock guards is whole again.
    pub fn clear_poison(&mut self) {
        self.poison = None;
        self.lock.head.epoch.cause.store(0, Ordering::Relaxed);
    }

    /// Leaves the lock poisoned when it is let go.
    pub fn set_poison(&mut self, poison: Poison) {
        let words = &self.lock.head.epoch;
        words.cause.store(
            u32::from(poison.cause == PoisonCause::Panicked),
            Ordering::Relaxed,
        );
        words.writer.store(poison.pid, Ordering::Relaxed);
        self.store_dirty(&poison.dirty);
        self.poison = Some(poison);
    }

    /// Says that no byte outside `range` will be written, for the report if the write is not finished.
    pub fn set_dirty(&mut self, range: std::ops::Range<usize>) {
        // Poison that is there already keeps its own range.
        if self.poison.is_none() {
            self.store_dirty(&range);
        }
    }

    fn store_dirty(&self, range: &std::ops::Range<usize>) {
        let words = &self.lock.head.epoch;
        words
            .dirty_start
            .store(range.start as u64, Ordering::Relaxed);
        words.dirty_end.store(range.end as u64, Ordering::Relaxed);
    }

    /// Lets workers on parts in, who name the number given, and keeps everybody else out.
    pub fn hand_out_parts(&mut self) -> u64 {
        let words = &self.lock.head.epoch;
        let epoch = words.epoch.load(Ordering::Relaxed);
        words.parts.store(epoch, Ordering::SeqCst);
        self.lock.slots.iter().rev().for_each(Robust::unlock);
        self.partitioned = true;
        epoch
    }

    /// Lets no more workers in and waits until the last has left.
    ///
    /// # Errors
    /// [`LockError::Timeout`] names one that is still there; the parts stay handed out to those inside.
    pub fn take_back_parts(&mut self, timeout: Option<Duration>) -> Result<(), LockError> {
        if !self.partitioned {
            return Ok(());
        }
        self.lock.head.epoch.parts.store(CLOSING, Ordering::SeqCst);
        let mut wait = Wait::new(self.lock.head, timeout);
        for (taken, slot) in self.lock.slots.iter().enumerate() {
            if let Err(error) = self.lock.take(slot, &mut wait) {
                self.lock.slots[..taken]
                    .iter()
                    .rev()
                    .for_each(Robust::unlock);
                return Err(error);
            }
        }
        self.lock.head.epoch.parts.store(0, Ordering::Release);
        self.partitioned = false;
        Ok(())
    }
}

impl Drop for WriteHold {
    fn drop(&mut self) {
        if self.forks != forks() {
            return;
        }
        let _ = self.take_back_parts(None);
        let words = &self.lock.head.epoch;
        if std::thread::panicking() && !self.unwound {
            words.cause.store(1, Ordering::Relaxed);
        } else if self.poison.is_none() {
            words.epoch.fetch_add(1, Ordering::AcqRel);
        }
        words.gate.store(0, Ordering::Release);
        self.lock.slots.iter().rev().for_each(Robust::unlock);
        self.lock.unlock_writer();
        held::leave(self.lock.id(), self.lock.slots.len() + 1);
    }
}

/// The lock, held to write the buffer that nobody reads.
#[must_use = "dropped at once, it unlocks at once"]
#[derive(Debug)]
pub struct CommitHold {
    lock: RobustRwLock,
    active: u64,
    forks: u32,
    not_send: PhantomData<*const ()>,
}

impl CommitHold {
    pub(super) fn new(lock: RobustRwLock, active: u64) -> Self {
        Self {
            lock,
            active,
            forks: forks(),
            not_send: PhantomData,
        }
    }

    /// The lock that is held.
    pub fn lock(&self) -> RobustRwLock {
        self.lock
    }

    /// Commits so far; the last bit says which buffer is read. The other is ours.
    pub fn commits(&self) -> u64 {
        self.active
    }

    /// Makes our buffer the one that is read, in one store of one word, and lets go.
    pub fn publish(self) -> u64 {
        let next = self.active + 1;
        if self.forks == forks() {
            self.lock.head.commit.active.store(next, Ordering::Release);
        }
        next
    }
}

impl Drop for CommitHold {
    fn drop(&mut self) {
        if self.forks == forks() {
            self.lock.unlock_writer();
            held::leave(self.lock.id(), 2);
        }
    }
}

/// The lock, held as a plain mutex.
#[must_use = "dropped at once, it unlocks at once"]
#[derive(Debug)]
pub struct MutexHold {
    lock: RobustRwLock,
    owner_died: bool,
    forks: u32,
    not_send: PhantomData<*const ()>,
}

impl MutexHold {
    pub(super) fn new(lock: RobustRwLock, owner_died: bool) -> Self {
        Self {
            lock,
            owner_died,
            forks: forks(),
            not_send: PhantomData,
        }
    }

    /// True if the holder before died with it.
    pub fn owner_died(&self) -> bool {
        self.owner_died
    }
}

impl Drop for MutexHold {
    fn drop(&mut self) {
        if self.forks == forks() {
            self.lock.unlock_writer();
            held::leave(self.lock.id(), 1);
        }
    }
}
