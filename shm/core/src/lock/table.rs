//! Lock tables: the memory the locks lie in. It is mapped once and never unmapped.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use nix::fcntl::SealFlag;
use numpush_os::{FileId, ForkMutex, NO_RESIZE, add_seals, allocate, sealed_len};

use super::identity::watch_forks;
use super::robust::Robust;
use super::rw::RobustRwLock;
use super::words::Head;

const MAGIC: u64 = u64::from_le_bytes(*b"numplock");
const VERSION: u32 = 1;
/// Most locks of a table.
pub(super) const MOST_BLOCKS: u32 = 4096;

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
const _: () = assert!(size_of::<Head>() == size_of::<Robust>() + 3 * 64);

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
    use memmap2::{Advice, MmapOptions, MmapRaw};
    use std::os::fd::AsFd;

    /// A mapped array of locks, before anybody has used one of them.
    ///
    /// # Invariants
    /// 1. `mapping` is mapped for reading and writing, of memory that cannot shrink, and has at least the bytes of a
    ///    [`Header`].
    #[derive(Debug)]
    pub(super) struct Candidate {
        mapping: MmapRaw,
    }

    /// A mapped array of locks.
    ///
    /// # Invariants
    /// 1. `mapping` is mapped for reading and writing, of memory that cannot shrink. It begins with a [`Header`], and
    ///    `blocks` blocks follow it.
    /// 2. `slots` and `blocks` are what the mapping was checked for; they do not follow the shared header.
    /// 3. It is mapped until the process ends, because every table is leaked: [`Candidate::leak`] is the only way to one. When a
    ///    thread ends, the kernel writes to the locks it holds.
    #[derive(Debug)]
    pub(super) struct Table {
        mapping: MmapRaw,
        pub(super) slots: usize,
        pub(super) blocks: u32,
    }

    /// Bytes of a lock with `slots` reader slots.
    pub(super) const fn stride(slots: usize) -> usize {
        size_of::<Head>() + slots * size_of::<Robust>()
    }

    /// Bytes of a mapping.
    pub(super) const fn table_len(slots: usize, blocks: u32) -> usize {
        size_of::<Header>() + stride(slots) * blocks as usize
    }

    impl Candidate {
        /// Maps the first `len` bytes of memory, and every page of them now.
        ///
        /// # Safety
        /// The memory has them and cannot shrink.
        pub(super) unsafe fn map(memory: impl AsFd, len: usize) -> io::Result<Self> {
            assert!(len >= size_of::<Header>(), "{len} bytes for locks");
            let mapping = MmapOptions::new().len(len).map_raw(&memory.as_fd())?;
            match mapping.advise(Advice::PopulateWrite) {
                // Linux before 5.14 maps each page at its first touch. They are allocated, so that no touch fails.
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
                result => result?,
            }
            Ok(Self { mapping })
        }

        #[expect(clippy::cast_ptr_alignment, reason = "a mapping begins on a page")]
        pub(super) fn header(&self) -> &Header {
            // SAFETY: the mapping begins on a page and has the bytes (1); all fields are atomic.
            unsafe { &*self.mapping.as_ptr().cast::<Header>() }
        }

        /// Makes it a table, for as long as the process lives.
        pub(super) fn leak(self, slots: usize, blocks: u32) -> &'static Table {
            assert!(table_len(slots, blocks) <= self.mapping.len());
            Box::leak(Box::new(Table {
                mapping: self.mapping,
                slots,
                blocks,
            }))
        }
    }

    impl Table {
        #[expect(
            clippy::cast_ptr_alignment,
            reason = "a mapping begins on a page, and header, head and slots are whole cache lines"
        )]
        pub(super) fn block(&'static self, index: u32) -> (&'static Head, &'static [Robust]) {
            assert!(index < self.blocks, "lock {index} of {}", self.blocks);
            let offset = size_of::<Header>() + stride(self.slots) * index as usize;
            // SAFETY: invariant 1; the index was just checked.
            let head = unsafe { self.mapping.as_mut_ptr().add(offset) }.cast::<Head>();
            // SAFETY: the slots follow the head (1).
            let slots = unsafe { head.add(1) }.cast::<Robust>();
            // SAFETY: invariants 1 and 3; all fields are atomic or mutexes.
            let slots = unsafe { std::slice::from_raw_parts(slots, self.slots) };
            // SAFETY: as above.
            (unsafe { &*head }, slots)
        }

        /// Makes the mutexes of a block. Its owner does, once, before it names the block to anybody.
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

use def::{Candidate, Table, table_len};

/// Locks in memory of their own that other processes map.
#[derive(Debug)]
pub(crate) struct LockTable {
    table: &'static Table,
    descriptor: Arc<OwnedFd>,
    id: FileId,
}

/// Every lock table of this process. None is ever taken out: an identity is not used again while the memory is mapped.
static ATTACHED: LazyLock<ForkMutex<BTreeMap<FileId, &'static LockTable>>> =
    LazyLock::new(ForkMutex::default);

impl LockTable {
    /// Makes `blocks` locks that nobody holds.
    pub(super) fn create(blocks: u32) -> io::Result<&'static Self> {
        watch_forks();
        let slots = slots();
        let len = table_len(slots, blocks);
        let descriptor = allocate(len, "numpush-locks")?;
        add_seals(&descriptor, SealFlag::F_SEAL_SEAL)?;
        let id = FileId::of(&descriptor)?;
        // SAFETY: just made with `len` bytes, and sealed.
        let candidate = unsafe { Candidate::map(&descriptor, len) }?;
        let header = candidate.header();
        header.version.store(VERSION, Ordering::Relaxed);
        header.abi.store(abi(), Ordering::Relaxed);
        header
            .slots
            .store(u32::try_from(slots).unwrap_or(u32::MAX), Ordering::Relaxed);
        header.blocks.store(blocks, Ordering::Relaxed);
        header.magic.store(MAGIC, Ordering::Release);
        let table = candidate.leak(slots, blocks);
        for index in 0..blocks {
            table.initialise(index)?;
        }
        Ok(Self::register(&mut ATTACHED.lock(), table, descriptor, id))
    }

    /// Maps the locks behind a descriptor that another process sent; once, however often it is sent.
    fn attach(descriptor: OwnedFd) -> io::Result<&'static Self> {
        watch_forks();
        let refused = |what| io::Error::new(io::ErrorKind::InvalidData, what);
        let id = FileId::of(&descriptor)?;
        let mut attached = ATTACHED.lock();
        if let Some(table) = attached.get(&id) {
            return Ok(table);
        }
        let len = sealed_len(&descriptor, NO_RESIZE | SealFlag::F_SEAL_SEAL)?;
        if len < size_of::<Header>() {
            return Err(refused("the memory is too short for locks"));
        }
        // SAFETY: the length and the seals were just checked.
        let candidate = unsafe { Candidate::map(&descriptor, len) }?;
        let header = candidate.header();
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
        let table = candidate.leak(slots, blocks);
        Ok(Self::register(&mut attached, table, descriptor, id))
    }

    fn register(
        attached: &mut BTreeMap<FileId, &'static Self>,
        table: &'static Table,
        descriptor: OwnedFd,
        id: FileId,
    ) -> &'static Self {
        let descriptor = Arc::new(descriptor);
        let made: &'static Self = Box::leak(Box::new(Self {
            table,
            descriptor,
            id,
        }));
        attached.insert(id, made);
        made
    }

    /// The descriptor of the memory.
    pub(super) fn descriptor(&self) -> &Arc<OwnedFd> {
        &self.descriptor
    }

    /// The identity of the memory, the same in every process.
    pub(super) fn id(&self) -> FileId {
        self.id
    }

    /// Number of locks.
    pub(super) fn blocks(&self) -> u32 {
        self.table.blocks
    }

    /// The words of a lock.
    pub(super) fn block(&self, index: u32) -> (&'static Head, &'static [Robust]) {
        self.table.block(index)
    }
}

/// Reader slots of a lock: twice the processors, so that every reader finds one free.
fn slots() -> usize {
    let processors = std::thread::available_parallelism().map_or(8, usize::from);
    (processors * 2).next_power_of_two().clamp(16, 64)
}

/// Where a lock lies, in words that can be sent beside the descriptor of its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_structs, reason = "another process fills it in")]
pub struct LockAddress {
    /// Which lock of the table.
    pub index: u32,
    /// Which of the lock's lives.
    pub generation: u64,
}

impl RobustRwLock {
    /// The lock at `address` of memory that this process maps already.
    pub fn find(memory: FileId, address: LockAddress) -> Option<Self> {
        let table = *ATTACHED.lock().get(&memory)?;
        Self::of_table(table, address)
    }

    /// The descriptor of memory with locks that this process maps.
    pub fn descriptor(memory: FileId) -> Option<Arc<OwnedFd>> {
        let attached = ATTACHED.lock();
        attached
            .get(&memory)
            .map(|table| Arc::clone(&table.descriptor))
    }

    /// The lock at `address` of the memory behind `descriptor`, which another process made. The memory stays mapped
    /// for as long as this process lives: the kernel may have to repair the lock at its end.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] and [`io::ErrorKind::PermissionDenied`] if it is no such memory; else what mmap(2)
    /// reports.
    pub fn attach(descriptor: OwnedFd, address: LockAddress) -> io::Result<Self> {
        let table = LockTable::attach(descriptor)?;
        Self::of_table(table, address).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                "there is no such lock in the memory",
            )
        })
    }

    fn of_table(table: &'static LockTable, address: LockAddress) -> Option<Self> {
        let LockAddress { index, generation } = address;
        (index < table.blocks()).then(|| {
            let (head, slots) = table.block(index);
            Self::new(head, slots, generation)
        })
    }
}

#[cfg(test)]
mod tests {
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
