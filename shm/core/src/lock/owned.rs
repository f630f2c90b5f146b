//! The locks a process makes and owns.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use numpush_os::{FileId, GlobalMutex};

use super::identity::forks;
use super::record::MOST_BLOCKS;
use super::rwlock::LockAddress;
use super::rwlock::RobustRwLock;
use super::table::LockTable;
use super::threads::lock_threads;

/// Locks of the first table of a process. Each further one has twice as many, up to [`MOST_BLOCKS`], so that ten thousand
/// arrays need a handful of descriptors.
const FIRST_BLOCKS: u32 = 64;

/// The locks this process makes: which are free.
struct FreeLocks {
    forks: u32,
    /// For how many threads the locks are.
    threads: usize,
    tables: u32,
    free: Vec<(Arc<LockTable>, u32)>,
}

static FREE_LOCKS: GlobalMutex<FreeLocks> = GlobalMutex::outer(FreeLocks {
    forks: 0,
    threads: 0,
    tables: 0,
    free: Vec::new(),
});

/// A lock that this process made and owns. When it is dropped the lock is retired: whoever still knows it gets
/// [`LockError::Retired`](super::LockError::Retired), and its memory serves the next lock.
///
/// ```
/// use numpush_shm_core::{LockOptions, OwnedLock};
///
/// let owned = OwnedLock::new()?;
/// let reading = owned.lock().read(LockOptions::new())?;
/// drop(reading);
/// let writing = owned.lock().write(LockOptions::new())?;
/// assert!(writing.poison().is_none());
/// # drop(writing);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct OwnedLock {
    index: u32,
    lock: RobustRwLock,
    forks: u32,
    is_retired: bool,
}

impl OwnedLock {
    /// Makes a lock that nobody holds.
    ///
    /// # Errors
    /// What memfd_create(2), fallocate(2) and mmap(2) report, once every 64 locks or more.
    pub fn new() -> io::Result<Self> {
        let mut free = FREE_LOCKS.lock();
        let (forks, threads) = (forks(), lock_threads());
        if free.forks != forks || free.threads != threads {
            // These are the parent's, which hands them out itself; or they are for another number of threads.
            *free = FreeLocks {
                forks,
                threads,
                tables: 0,
                free: Vec::new(),
            };
        }
        let (table, index) = match free.free.pop() {
            Some(free) => free,
            None => free.grow()?,
        };
        let generation = table.lock(index, 0).head.begin();
        Ok(Self {
            index,
            lock: RobustRwLock::new(table, index, generation),
            forks,
            is_retired: false,
        })
    }

    /// The lock.
    pub fn lock(&self) -> &RobustRwLock {
        &self.lock
    }

    /// The descriptor of the memory it lies in.
    pub fn descriptor(&self) -> &Arc<OwnedFd> {
        self.lock.table().descriptor()
    }

    /// The identity of that memory, the same in every process.
    pub fn memory(&self) -> FileId {
        self.lock.table().id()
    }

    /// Where in that memory it lies.
    pub fn address(&self) -> LockAddress {
        LockAddress {
            index: self.index,
            generation: self.lock.raw().generation,
        }
    }
}

impl OwnedLock {
    /// Notes in the lock that it is the one of part `number` of what `whole` guards, in `epoch`.
    pub(super) fn mark_part(&self, whole: &RobustRwLock, epoch: u64, number: usize) {
        let words = &self.lock.raw().head.division.part_of;
        for (word, value) in words.iter().zip(whole.part_words(epoch, number)) {
            word.store(value, Ordering::Relaxed);
        }
    }

    /// Ends the life of the lock: whoever comes from now on gets [`LockError::Retired`](super::LockError::Retired).
    ///
    /// Returns false if somebody may still hold it: a process that was forked from this one, a peer that has lost its
    /// connection, a thread that forgot a guard. Then the bytes it guards must not be used for anything else, and the lock
    /// is not used again. A later call looks again.
    pub fn retire(&mut self) -> bool {
        if self.forks != forks() {
            return false;
        }
        if !self.is_retired {
            self.is_retired = self.lock.raw().retire();
        }
        self.is_retired
    }
}

impl Drop for OwnedLock {
    fn drop(&mut self) {
        // The parent of a fork still uses it.
        if self.forks == forks() && self.retire() {
            let table = self.lock.table();
            let mut free = FREE_LOCKS.lock();
            if free.threads == table.threads() {
                free.free.push((Arc::clone(table), self.index));
            }
        }
    }
}

impl FreeLocks {
    /// Makes a table, and returns the first of its locks.
    fn grow(&mut self) -> io::Result<(Arc<LockTable>, u32)> {
        let doubled = FIRST_BLOCKS << self.tables.min(16);
        let table = LockTable::create(doubled.min(MOST_BLOCKS), self.threads)?;
        self.tables += 1;
        let others = (1..table.blocks()).rev();
        self.free
            .extend(others.map(|index| (Arc::clone(&table), index)));
        Ok((table, 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_locks_take_few_descriptors() {
        let blocks: Vec<OwnedLock> = (0..10_000).map(|_| OwnedLock::new().unwrap()).collect();
        let mut controls: Vec<_> = blocks
            .iter()
            .map(|block| Arc::as_ptr(block.descriptor()))
            .collect();
        controls.sort();
        controls.dedup();
        assert!(controls.len() < 12, "{} lock tables", controls.len());
    }
}
