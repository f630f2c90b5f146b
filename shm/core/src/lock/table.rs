//! Lock tables: where the locks are. Mapped once, never unmapped.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::fcntl::SealFlag;
use numpush_os::{NO_RESIZE, add_seals, allocate, sealed_len};

use crate::lock::identity::{forks, watch_forks};
use crate::lock::robust::Robust;
use crate::lock::rw::{Head, RobustRwLock};

const MAGIC: u64 = u64::from_le_bytes(*b"numplock");
const VERSION: u32 = 1;
/// Locks of the first lock table of a process; each further one has twice as many, up to [`MOST_BLOCKS`], so that
/// ten thousand arrays need a handful of descriptors.
const FIRST_BLOCKS: u32 = 64;
const MOST_BLOCKS: u32 = 4096;

/// The first line of a lock table. A reader copies it out before it believes a word of it.
#[repr(C, align(64))]
struct Header {
    /// Stored last.
    magic: AtomicU64,
    version: AtomicU32,
    abi: AtomicU32,
    slots: AtomicU32,
    blocks: AtomicU32,
}

const _: () = assert!(size_of::<Header>() == 64);
const _: () = assert!(size_of::<Head>() == 256);

/// What must agree for two programs to use one mutex: glibc's and musl's have the same name and nothing else in common.
const fn abi() -> u32 {
    let libc_kind = if cfg!(target_env = "musl") { 2 } else { 1 };
    let endian = if cfg!(target_endian = "big") { 1 } else { 0 };
    #[expect(clippy::cast_possible_truncation, reason = "sizes under a cache line")]
    let (mutex, pointer) = (
        size_of::<libc::pthread_mutex_t>() as u32,
        size_of::<usize>() as u32,
    );
    libc_kind << 24 | endian << 16 | mutex << 8 | pointer
}

mod def {
    use super::{Head, Header, Robust, io};
    use nix::sys::mman::{MapFlags, ProtFlags, mmap};
    use std::num::NonZeroUsize;
    use std::os::fd::AsFd;
    use std::ptr::NonNull;

    /// A mapped array of locks.
    ///
    /// # Invariants
    /// 1. `base` points to a [`Header`] and `blocks` blocks behind it, mapped for reading and writing until the
    ///    process ends, of memory that cannot shrink.
    /// 2. `slots` and `blocks` are what the mapping was checked for; they do not follow the shared header.
    #[derive(Debug)]
    pub(super) struct Table {
        base: NonNull<u8>,
        pub(super) slots: usize,
        pub(super) blocks: u32,
    }

    // SAFETY: everything behind the pointer is atomic or a mutex, and stays mapped (1).
    unsafe impl Send for Table {}
    // SAFETY: as above.
    unsafe impl Sync for Table {}

    /// Bytes of a lock with `slots` reader slots.
    pub(super) const fn stride(slots: usize) -> usize {
        size_of::<Head>() + slots * size_of::<Robust>()
    }

    /// Bytes of a mapping.
    pub(super) const fn table_len(slots: usize, blocks: u32) -> usize {
        size_of::<Header>() + stride(slots) * blocks as usize
    }

    impl Table {
        /// Maps memory that cannot shrink, for ever, with every page in place.
        pub(super) fn map(memory: impl AsFd, len: usize) -> io::Result<NonNull<u8>> {
            let length = NonZeroUsize::new(len).ok_or(io::ErrorKind::InvalidInput)?;
            let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
            // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
            let base = unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED, memory, 0) }?;
            // SAFETY: populating changes no byte of the range, which was just mapped.
            let result = unsafe { libc::madvise(base.as_ptr(), len, libc::MADV_POPULATE_WRITE) };
            if result == 0 {
                Ok(base.cast())
            } else {
                Err(io::Error::last_os_error())
            }
        }

        /// # Safety
        /// `base` came from [`Self::map`] with at least `table_len(slots, blocks)` bytes.
        pub(super) unsafe fn new(base: NonNull<u8>, slots: usize, blocks: u32) -> Self {
            Self {
                base,
                slots,
                blocks,
            }
        }

        /// # Safety
        /// `base` came from [`Self::map`].
        pub(super) unsafe fn header(base: NonNull<u8>) -> &'static Header {
            // SAFETY: mapped for ever, page-aligned, and all its fields are atomic.
            unsafe { base.cast::<Header>().as_ref() }
        }

        pub(super) fn block(&'static self, index: u32) -> (&'static Head, &'static [Robust]) {
            assert!(index < self.blocks, "lock {index} of {}", self.blocks);
            let offset = size_of::<Header>() + stride(self.slots) * index as usize;
            // SAFETY: invariant 1; the index was just checked.
            let head = unsafe { self.base.add(offset) }.cast::<Head>();
            // SAFETY: the slots follow the head (1).
            let slots = unsafe { head.add(1) }.cast::<Robust>();
            // SAFETY: invariant 1; all fields are atomic or mutexes.
            let slots = unsafe { std::slice::from_raw_parts(slots.as_ptr(), self.slots) };
            // SAFETY: as above.
            (unsafe { head.as_ref() }, slots)
        }

        /// Makes the mutexes of a block. Its owner does, once, before it tells anybody of the block.
        pub(super) fn initialise(&'static self, index: u32) -> io::Result<()> {
            let (head, slots) = self.block(index);
            for mutex in std::iter::once(&head.writer).chain(slots) {
                // SAFETY: in a lock table, and the block was never handed out.
                unsafe { Robust::initialise(std::ptr::from_ref(mutex).cast_mut()) }?;
            }
            Ok(())
        }
    }
}

use def::{Table, table_len};

/// Locks in memory of their own that other processes map.
#[derive(Debug)]
pub(crate) struct LockTable {
    table: Table,
    descriptor: Arc<OwnedFd>,
    /// Its inode, which names it among the processes of the machine.
    memory: u64,
}

impl LockTable {
    fn create(blocks: u32) -> io::Result<&'static Self> {
        watch_forks();
        let slots = slots();
        let len = table_len(slots, blocks);
        let descriptor = Arc::new(allocate(len, "numpush-locks")?);
        add_seals(&*descriptor, SealFlag::F_SEAL_SEAL)?;
        let base = Table::map(&*descriptor, len)?;
        // SAFETY: mapped by the line above.
        let header = unsafe { Table::header(base) };
        header.version.store(VERSION, Ordering::Relaxed);
        header.abi.store(abi(), Ordering::Relaxed);
        header
            .slots
            .store(u32::try_from(slots).unwrap_or(u32::MAX), Ordering::Relaxed);
        header.blocks.store(blocks, Ordering::Relaxed);
        header.magic.store(MAGIC, Ordering::Release);
        // SAFETY: mapped above with the length of this table.
        let table = unsafe { Table::new(base, slots, blocks) };
        let memory = inode(&*descriptor)?;
        let control: &'static Self = Box::leak(Box::new(Self {
            table,
            descriptor,
            memory,
        }));
        attached().insert(memory, control);
        Ok(control)
    }

    /// Maps the locks behind a descriptor that another process sent, once for all times it is sent.
    fn attach(descriptor: OwnedFd) -> io::Result<&'static Self> {
        watch_forks();
        let refused = |what| io::Error::new(io::ErrorKind::InvalidData, what);
        let memory = inode(&descriptor)?;
        let mut attached = attached();
        if let Some(control) = attached.get(memory) {
            return Ok(control);
        }
        let len = sealed_len(&descriptor, NO_RESIZE | SealFlag::F_SEAL_SEAL)?;
        if len < size_of::<Header>() {
            return Err(refused("the memory is too short for locks"));
        }
        let base = Table::map(&descriptor, len)?;
        // SAFETY: mapped by the line above.
        let header = unsafe { Table::header(base) };
        if header.magic.load(Ordering::Acquire) != MAGIC
            || header.version.load(Ordering::Relaxed) != VERSION
        {
            return Err(refused("the memory holds no locks of this version"));
        }
        if header.abi.load(Ordering::Relaxed) != abi() {
            return Err(refused(
                "the locks were made by a program with another C library or word size",
            ));
        }
        let slots = header.slots.load(Ordering::Relaxed) as usize;
        let blocks = header.blocks.load(Ordering::Relaxed);
        if !(8..=64).contains(&slots) || blocks > MOST_BLOCKS || table_len(slots, blocks) > len {
            return Err(refused("the locks do not fit their memory"));
        }
        // SAFETY: mapped above, and the numbers were just checked against the length.
        let table = unsafe { Table::new(base, slots, blocks) };
        let descriptor = Arc::new(descriptor);
        let control: &'static Self = Box::leak(Box::new(Self {
            table,
            descriptor,
            memory,
        }));
        attached.insert(memory, control);
        Ok(control)
    }

    fn lock(&'static self, index: u32, generation: u64) -> RobustRwLock {
        let (head, slots) = self.table.block(index);
        RobustRwLock::new(head, slots, generation)
    }
}

/// Reader slots of a lock: twice the processors, so that every reader finds one free.
fn slots() -> usize {
    let processors = std::thread::available_parallelism().map_or(8, usize::from);
    (processors * 2).next_power_of_two().clamp(16, 64)
}

/// Every lock table of this process, by inode. None is ever taken out: a number is not used again while the
/// memory of that number is mapped.
fn attached() -> Attached {
    static ATTACHED: Mutex<Option<HashMap<u64, &'static LockTable>>> = Mutex::new(None);
    Attached(ATTACHED.lock().unwrap_or_else(PoisonError::into_inner))
}

struct Attached(MutexGuard<'static, Option<HashMap<u64, &'static LockTable>>>);

impl Attached {
    fn get(&self, memory: u64) -> Option<&'static LockTable> {
        self.0.as_ref().and_then(|map| map.get(&memory)).copied()
    }

    fn insert(&mut self, memory: u64, control: &'static LockTable) {
        self.0.get_or_insert_default().insert(memory, control);
    }
}

/// The number of a memory descriptor: memfds of all processes are files of one file system.
pub(crate) fn inode(file: impl AsFd) -> io::Result<u64> {
    Ok(nix::sys::stat::fstat(file)?.st_ino)
}

/// The locks this process makes: which are free.
struct FreeLocks {
    forks: u32,
    controls: Vec<&'static LockTable>,
    free: Vec<(&'static LockTable, u32)>,
}

static SUPPLY: Mutex<FreeLocks> = Mutex::new(FreeLocks {
    forks: 0,
    controls: Vec::new(),
    free: Vec::new(),
});

/// A lock that this process made and owns. Dropped, it is retired: whoever still knows it is told so, and its memory
/// is used for the next.
#[derive(Debug)]
pub struct OwnedLock {
    control: &'static LockTable,
    index: u32,
    lock: RobustRwLock,
    forks: u32,
}

/// Where a lock lies, in words that can be sent beside the descriptor of its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LockAddress {
    /// Which of the lock table's locks.
    pub index: u32,
    /// Which of the lock's lives.
    pub generation: u64,
}

impl OwnedLock {
    /// Makes a lock that nobody holds.
    ///
    /// # Errors
    /// What memfd_create(2), fallocate(2) and mmap(2) say, once every 64 locks or more.
    pub fn new() -> io::Result<Self> {
        let mut supply = SUPPLY.lock().unwrap_or_else(PoisonError::into_inner);
        let forks = forks();
        if supply.forks != forks {
            // These are the parent's, which hands them out itself.
            *supply = FreeLocks {
                forks,
                controls: Vec::new(),
                free: Vec::new(),
            };
        }
        let (control, index) = match supply.free.pop() {
            Some(free) => free,
            None => supply.grow()?,
        };
        let (head, slots) = control.table.block(index);
        let generation = head.begin();
        Ok(Self {
            control,
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
        &self.control.descriptor
    }

    /// The number of that memory, the same in every process.
    pub fn memory(&self) -> u64 {
        self.control.memory
    }

    /// Where it lies in there.
    pub fn place(&self) -> LockAddress {
        LockAddress {
            index: self.index,
            generation: self.lock.generation(),
        }
    }
}

impl Drop for OwnedLock {
    fn drop(&mut self) {
        // The parent of a fork still uses it.
        if self.forks != forks() {
            return;
        }
        self.lock.retire();
        SUPPLY
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .free
            .push((self.control, self.index));
    }
}

impl FreeLocks {
    fn grow(&mut self) -> io::Result<(&'static LockTable, u32)> {
        let doubled = FIRST_BLOCKS << self.controls.len().min(16);
        let control = LockTable::create(doubled.min(MOST_BLOCKS))?;
        for index in 0..control.table.blocks {
            control.table.initialise(index)?;
        }
        self.controls.push(control);
        self.free.extend(
            (1..control.table.blocks)
                .rev()
                .map(|index| (control, index)),
        );
        Ok((control, 0))
    }
}

impl RobustRwLock {
    /// The lock at `place` of memory that this process maps already.
    pub fn find(memory: u64, place: LockAddress) -> Option<Self> {
        let control = attached().get(memory)?;
        (place.index < control.table.blocks).then(|| control.lock(place.index, place.generation))
    }

    /// The descriptor of memory with locks that this process maps.
    pub fn descriptor(memory: u64) -> Option<Arc<OwnedFd>> {
        attached()
            .get(memory)
            .map(|control| Arc::clone(&control.descriptor))
    }

    /// The lock at `place` of the memory behind `descriptor`, which another process made. The memory stays mapped
    /// for as long as this process lives: the kernel may have to repair the lock at its end.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] and [`io::ErrorKind::PermissionDenied`] if it is no such memory.
    pub fn attach(descriptor: OwnedFd, place: LockAddress) -> io::Result<Self> {
        let control = LockTable::attach(descriptor)?;
        if place.index >= control.table.blocks {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "there is no such lock in the memory",
            ));
        }
        Ok(control.lock(place.index, place.generation))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_found_again_through_its_descriptor() {
        let block = OwnedLock::new().unwrap();
        let lock =
            RobustRwLock::attach(block.descriptor().try_clone().unwrap(), block.place()).unwrap();
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
