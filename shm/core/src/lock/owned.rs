//! The locks a process makes and owns.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, LazyLock};

use numpush_os::{FileId, ForkMutex};

use super::identity::forks;
use super::rw::RobustRwLock;
use super::table::{LockAddress, LockTable, MOST_BLOCKS};

/// Locks of the first table of a process. Each further one has twice as many, up to [`MOST_BLOCKS`], so that ten thousand
/// arrays need a handful of descriptors.
const FIRST_BLOCKS: u32 = 64;

/// The locks this process makes: which are free.
struct FreeLocks {
    forks: u32,
    tables: u32,
    free: Vec<(&'static LockTable, u32)>,
}

static FREE_LOCKS: LazyLock<ForkMutex<FreeLocks>> = LazyLock::new(|| {
    ForkMutex::outer(FreeLocks {
        forks: forks(),
        tables: 0,
        free: Vec::new(),
    })
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
    table: &'static LockTable,
    index: u32,
    lock: RobustRwLock,
    forks: u32,
}

impl OwnedLock {
    /// Makes a lock that nobody holds.
    ///
    /// # Errors
    /// What memfd_create(2), fallocate(2) and mmap(2) report, once every 64 locks or more.
    pub fn new() -> io::Result<Self> {
        let mut free = FREE_LOCKS.lock();
        let forks = forks();
        if free.forks != forks {
            // These are the parent's, which hands them out itself.
            *free = FreeLocks {
                forks,
                tables: 0,
                free: Vec::new(),
            };
        }
        let (table, index) = match free.free.pop() {
            Some(free) => free,
            None => free.grow()?,
        };
        let (head, slots) = table.block(index);
        let generation = head.begin();
        Ok(Self {
            table,
            index,
            lock: RobustRwLock::new(head, slots, generation),
            forks,
        })
    }

    /// The lock.
    pub fn lock(&self) -> RobustRwLock {
        self.lock
    }

    /// The descriptor of the memory it lies in.
    pub fn descriptor(&self) -> &Arc<OwnedFd> {
        self.table.descriptor()
    }

    /// The identity of that memory, the same in every process.
    pub fn memory(&self) -> FileId {
        self.table.id()
    }

    /// Where in that memory it lies.
    pub fn address(&self) -> LockAddress {
        LockAddress {
            index: self.index,
            generation: self.lock.generation(),
        }
    }
}

impl Drop for OwnedLock {
    fn drop(&mut self) {
        // The parent of a fork still uses it.
        if self.forks == forks() {
            self.lock.retire();
            FREE_LOCKS.lock().free.push((self.table, self.index));
        }
    }
}

impl FreeLocks {
    /// Makes a table, and returns the first of its locks.
    fn grow(&mut self) -> io::Result<(&'static LockTable, u32)> {
        let doubled = FIRST_BLOCKS << self.tables.min(16);
        let table = LockTable::create(doubled.min(MOST_BLOCKS))?;
        self.tables += 1;
        let others = (1..table.blocks()).rev();
        self.free.extend(others.map(|index| (table, index)));
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
