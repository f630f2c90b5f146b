//! A lock between processes, kept mapped.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use numpush_os::FileId;

use super::options::LockState;
use super::raw::RawLock;
use super::table::LockTable;

/// Where a lock lies, in words that can be sent beside the descriptor of its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_structs, reason = "another process fills it in")]
pub struct LockAddress {
    /// Which lock of the table.
    pub index: u32,
    /// Which of the lock's lives.
    pub generation: u64,
}

/// A shared and exclusive lock between processes. Clones are the same lock.
///
/// Many readers or one writer; a writer that drains readers goes before those that come later. A holder that dies, at any
/// instruction, lets go: a reader leaves nothing, a writer leaves the lock [poisoned](super::LockError::Poisoned) if it
/// was inside.
///
/// A thread that reads may read again. Any other second hold of one lock in one thread is refused with
/// [`WouldDeadlock`](super::LockError::WouldDeadlock). Readers need no slot: as many threads may read at once as may use
/// the owner's locks at all; see [`set_lock_threads`](super::set_lock_threads).
#[derive(Clone, Debug)]
pub struct RobustRwLock {
    table: Arc<LockTable>,
    raw: RawLock,
}

impl RobustRwLock {
    pub(super) fn new(table: Arc<LockTable>, index: u32, generation: u64) -> Self {
        let raw = table.lock(index, generation);
        Self { table, raw }
    }

    #[inline]
    pub(super) fn raw(&self) -> &RawLock {
        &self.raw
    }

    #[inline]
    pub(super) fn table(&self) -> &Arc<LockTable> {
        &self.table
    }

    /// A number that no other lock of this process has.
    #[inline]
    pub fn id(&self) -> usize {
        self.raw.id()
    }

    /// Which of its lives the lock is in; with [`Self::id`] it is of this lock alone.
    pub(crate) fn generation(&self) -> u64 {
        self.raw.generation
    }

    /// True if the value the lock belonged to is gone.
    pub fn is_retired(&self) -> bool {
        self.raw.is_retired()
    }

    /// What the lock looks like now.
    pub fn state(&self) -> LockState {
        self.raw.state()
    }

    /// The lock at `address` of memory that this process maps already.
    pub fn find(memory: FileId, address: LockAddress) -> Option<Self> {
        let table = LockTable::find(memory)?;
        Self::of_table(table, address)
    }

    /// The descriptor of memory with locks that this process maps.
    pub fn descriptor(memory: FileId) -> Option<Arc<OwnedFd>> {
        let table = LockTable::find(memory)?;
        Some(Arc::clone(table.descriptor()))
    }

    /// The lock at `address` of the memory behind `descriptor`, which another process made. The memory stays mapped
    /// until the last of its locks and holds in this process is dropped, and a thread that used them may keep it for as
    /// long as it lives.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] and [`io::ErrorKind::PermissionDenied`] if it is no such memory, or if it was made
    /// in another pid namespace; else what mmap(2) reports.
    pub fn attach(descriptor: OwnedFd, address: LockAddress) -> io::Result<Self> {
        let table = LockTable::attach(descriptor)?;
        Self::of_table(table, address).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                "there is no such lock in the memory",
            )
        })
    }

    fn of_table(table: Arc<LockTable>, address: LockAddress) -> Option<Self> {
        let LockAddress { index, generation } = address;
        (index < table.blocks()).then(|| Self::new(table, index, generation))
    }

    /// True if this lock was made for part `number` of what `whole` guards, in `epoch`.
    pub(super) fn is_of_part(&self, whole: &Self, epoch: u64, number: usize) -> bool {
        let words = &self.raw.head.division.part_of;
        let noted: [u64; 5] = std::array::from_fn(|at| words[at].load(Ordering::Relaxed));
        noted == whole.part_words(epoch, number) && !self.is_retired()
    }

    pub(super) fn part_words(&self, epoch: u64, number: usize) -> [u64; 5] {
        let id = self.table.id();
        [id.dev, id.ino, self.raw.index.into(), epoch, number as u64]
    }
}

#[cfg(test)]
mod tests {
    use nix::fcntl::SealFlag;
    use numpush_os::{add_seals, allocate};

    use super::*;
    use crate::lock::OwnedLock;

    #[test]
    fn a_lock_is_found_again_through_its_descriptor() {
        let block = OwnedLock::new().unwrap();
        let lock =
            RobustRwLock::attach(block.descriptor().try_clone().unwrap(), block.address()).unwrap();
        assert_eq!(lock.id(), block.lock().id());
        let beyond = LockAddress {
            index: 1 << 20,
            generation: 1,
        };
        assert!(RobustRwLock::attach(block.descriptor().try_clone().unwrap(), beyond).is_err());
    }

    #[test]
    fn other_memory_is_no_locks() {
        let memory = allocate(4096, "t").unwrap();
        assert!(
            RobustRwLock::attach(
                memory,
                LockAddress {
                    index: 0,
                    generation: 1
                }
            )
            .is_err()
        );
        let memory = allocate(4096, "t").unwrap();
        add_seals(&memory, SealFlag::F_SEAL_SEAL).unwrap();
        let error = RobustRwLock::attach(
            memory,
            LockAddress {
                index: 0,
                generation: 1,
            },
        )
        .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
