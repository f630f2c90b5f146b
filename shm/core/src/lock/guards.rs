//! A lock that is held, in each of the ways it can be.
//!
//! A hold ends in the thread that took it, and not in a process that was forked meanwhile. While there is one, the thread
//! has a [`Place`] in the lock's table, which keeps the table mapped.

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::division::Division;
use super::drain::Who;
use super::error::{LockError, Poison, PoisonCause};
use super::mapped::Mapped;
use super::place::Place;
use super::raw::RawLock;
use super::record::reads_commit;
use super::rwlock::RobustRwLock;
use super::thread::leave;
use super::wait::Wait;
use super::words::{CLOSING, Head};

/// The lock, held for reading. Ends when dropped, in the thread that took it.
#[must_use = "dropped at once, it unlocks at once"]
#[derive(Debug)]
pub struct ReadHold {
    lock: Mapped<Head>,
    generation: u64,
    place: Place,
    /// A hold ends in the thread that took it.
    not_send: PhantomData<*const ()>,
}

impl ReadHold {
    #[inline]
    pub(super) fn new(lock: &RawLock, place: Place) -> Self {
        Self {
            lock: lock.head,
            generation: lock.generation,
            place,
            not_send: PhantomData,
        }
    }

    /// What an unfinished write left, if the lock was taken nevertheless.
    pub fn poison(&self) -> Option<Poison> {
        self.lock.is_dirty().then(|| self.lock.poison())
    }

    /// True if it is `lock` that is held.
    pub(crate) fn guards(&self, lock: &RobustRwLock) -> bool {
        lock.raw().is(self.lock, self.generation)
    }

    /// The commit that may be read; the last bit of the number says which of two buffers it is in. That buffer stays as it
    /// is for as long as the lock is held.
    pub fn commits(&self) -> u64 {
        let last = self.lock.state.commits.load(Ordering::SeqCst);
        if reads_commit(self.place.word(), last) {
            last
        } else {
            last - 1
        }
    }
}

impl Drop for ReadHold {
    #[inline]
    fn drop(&mut self) {
        leave(self.lock.address(), self.place, || self.place.set(0));
    }
}

/// A share in the work on the parts of what a lock guards. Ends when dropped, in the thread that took it.
#[must_use = "dropped at once, it unlocks at once"]
#[derive(Debug)]
pub struct WorkHold {
    lock: RawLock,
    place: Place,
    epoch: u64,
    not_send: PhantomData<*const ()>,
}

impl WorkHold {
    pub(super) fn new(lock: &RawLock, place: Place, epoch: u64) -> Self {
        Self {
            lock: *lock,
            place,
            epoch,
            not_send: PhantomData,
        }
    }

    /// True if it is the parts of what `lock` guards that are worked on.
    pub(super) fn guards(&self, lock: &RobustRwLock) -> bool {
        lock.raw().is(self.lock.head, self.lock.generation)
    }

    /// The number of the division.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }
}

impl Drop for WorkHold {
    fn drop(&mut self) {
        leave(self.lock.id(), self.place, || {
            self.lock.head.work.count_out();
            self.place.set(0);
        });
    }
}

/// The lock, held for writing. Ends when dropped, in the thread that took it; a panic on the way poisons the lock.
#[must_use = "dropped at once, it unlocks at once"]
#[derive(Debug)]
pub struct WriteHold {
    lock: RawLock,
    place: Place,
    poison: Option<Poison>,
    /// What this holder said it may change.
    declared: Range<usize>,
    partitioned: bool,
    unwound: bool,
    not_send: PhantomData<*const ()>,
}

impl WriteHold {
    #[inline]
    pub(super) fn new(lock: &RawLock, place: Place, poison: Option<Poison>) -> Self {
        Self {
            lock: *lock,
            place,
            poison,
            declared: 0..usize::MAX,
            partitioned: false,
            unwound: std::thread::panicking(),
            not_send: PhantomData,
        }
    }

    /// True if this guard opens what `lock` guards: the same lock, and no parts handed out.
    pub(crate) fn guards(&self, lock: &RobustRwLock) -> bool {
        lock.raw().is(self.lock.head, self.lock.generation) && !self.partitioned
    }

    /// What an unfinished write left, if the lock was taken nevertheless.
    pub fn poison(&self) -> Option<&Poison> {
        self.poison.as_ref()
    }

    /// Says that what the lock guards is whole again.
    pub fn clear_poison(&mut self) {
        self.poison = None;
    }

    /// Leaves the lock poisoned when it is let go.
    pub fn set_poison(&mut self, poison: Poison) {
        self.declared = poison.dirty.clone();
        self.poison = Some(poison);
    }

    /// Says that no byte outside `range` will be written, for the report if the write is not finished. A repair that does
    /// not come to its end is reported for all bytes, whatever it declared.
    pub fn set_dirty(&mut self, range: Range<usize>) {
        if self.poison.is_none() {
            self.store_dirty(&range);
        }
        self.declared = range;
    }

    /// Leaves the report of a write that this holder did not mend: it may have changed more.
    fn store_poison(&self, poison: &Poison) {
        let words = &self.lock.head.state;
        let panicked = poison.cause == PoisonCause::Panicked;
        words.cause.store(panicked.into(), Ordering::Relaxed);
        words.writer.store(poison.pid, Ordering::Relaxed);
        let (old, new) = (&poison.dirty, &self.declared);
        self.store_dirty(&(old.start.min(new.start)..old.end.max(new.end)));
    }

    fn store_dirty(&self, range: &Range<usize>) {
        let words = &self.lock.head.state;
        words
            .dirty_start
            .store(range.start as u64, Ordering::Relaxed);
        words.dirty_end.store(range.end as u64, Ordering::Relaxed);
    }

    /// Lets workers on parts in, who name the number returned and the same division, and keeps everybody else out.
    pub fn hand_out_parts(&mut self, division: Division) -> u64 {
        self.hand_out_marked(division, &|_| ())
    }

    /// As [`Self::hand_out_parts`]; `mark` gets the number before anybody can name it.
    pub(super) fn hand_out_marked(&mut self, division: Division, mark: &dyn Fn(u64)) -> u64 {
        let head = &self.lock.head;
        head.division.deal(division);
        head.work.begin();
        // Another number than that of an earlier division under the same hold, whose parts are gone; odd as that was.
        let epoch = head.state.epoch.load(Ordering::Relaxed) + 2;
        head.state.epoch.store(epoch, Ordering::Relaxed);
        mark(epoch);
        head.state.parts.store(epoch, Ordering::SeqCst);
        self.partitioned = true;
        epoch
    }

    /// False in a process that was forked from the one that took it.
    pub(super) fn is_ours(&self) -> bool {
        self.place.is_ours()
    }

    /// The words of the lock.
    pub(super) fn words(&self) -> &Head {
        &self.lock.head
    }

    /// Lets no more workers in and waits until the last has left.
    ///
    /// # Errors
    /// [`LockError::Timeout`] names one that is still there; the parts stay handed out to those inside.
    pub fn take_back_parts(&mut self, timeout: Option<Duration>) -> Result<(), LockError> {
        if !self.partitioned {
            return Ok(());
        }
        let parts = &self.lock.head.state.parts;
        parts.swap(CLOSING, Ordering::SeqCst);
        let mut wait = Wait::new(self.place, self.lock.index, timeout);
        self.lock.drain(&mut wait, Who::All)?;
        parts.store(0, Ordering::Release);
        self.partitioned = false;
        Ok(())
    }
}

impl Drop for WriteHold {
    #[inline]
    fn drop(&mut self) {
        if !self.place.is_ours() {
            return;
        }
        let _ = self.take_back_parts(None);
        leave(self.lock.id(), self.place, || {
            let words = &self.lock.head.state;
            if std::thread::panicking() && !self.unwound {
                words.cause.store(1, Ordering::Relaxed);
            } else if let Some(poison) = &self.poison {
                self.store_poison(poison);
            } else {
                let epoch = words.epoch.load(Ordering::Relaxed);
                words.epoch.store(epoch + 1, Ordering::Release);
            }
            self.lock.open_gate();
            self.lock.unlock_writer();
        });
    }
}

/// The lock, held to write the buffer that nobody reads.
#[must_use = "dropped at once, it unlocks at once"]
#[derive(Debug)]
pub struct CommitHold {
    lock: Mapped<Head>,
    generation: u64,
    place: Place,
    active: u64,
    not_send: PhantomData<*const ()>,
}

impl CommitHold {
    pub(super) fn new(lock: &RawLock, place: Place, active: u64) -> Self {
        Self {
            lock: lock.head,
            generation: lock.generation,
            place,
            active,
            not_send: PhantomData,
        }
    }

    /// True if it is `lock` that is held.
    pub(crate) fn guards(&self, lock: &RobustRwLock) -> bool {
        lock.raw().is(self.lock, self.generation)
    }

    /// The thread's place, of which the lock needs no word.
    pub(super) fn place(&self) -> Place {
        self.place
    }

    /// Commits so far; the last bit says which buffer is read. The other is ours.
    pub fn commits(&self) -> u64 {
        self.active
    }

    /// Makes our buffer the one that is read, in one store of one word, and lets go.
    pub fn publish(self) -> u64 {
        let next = self.active + 1;
        if self.place.is_ours() {
            self.lock.state.commits.store(next, Ordering::SeqCst);
        }
        next
    }
}

impl Drop for CommitHold {
    fn drop(&mut self) {
        leave(self.lock.address(), self.place, || {
            self.lock.writer.release()
        });
    }
}

/// The lock, held as a plain mutex.
#[must_use = "dropped at once, it unlocks at once"]
#[derive(Debug)]
pub struct MutexHold {
    lock: Mapped<Head>,
    place: Place,
    owner_died: bool,
    not_send: PhantomData<*const ()>,
}

impl MutexHold {
    #[inline]
    pub(super) fn new(lock: &RawLock, place: Place, owner_died: bool) -> Self {
        Self {
            lock: lock.head,
            place,
            owner_died,
            not_send: PhantomData,
        }
    }

    /// True if the holder before died with it.
    pub fn owner_died(&self) -> bool {
        self.owner_died
    }
}

impl Drop for MutexHold {
    #[inline]
    fn drop(&mut self) {
        leave(self.lock.address(), self.place, || {
            self.lock.writer.release()
        });
    }
}
