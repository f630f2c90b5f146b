//! Lock tables: the memory the locks lie in.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use nix::fcntl::SealFlag;
use numpush_os::{FileId, GlobalMutex, NO_RESIZE, add_seals, allocate, sealed_len};

use super::atomic::MOST_RECORDS;
use super::error::LockError;
use super::identity::{this_thread, watch_forks};
use super::mapped::Mapped;
use super::raw::RawLock;
use super::record::{MOST_BLOCKS, ThreadRecord};
use super::robust::Robust;
use super::words::Head;

const MAGIC: u64 = u64::from_le_bytes(*b"numplock");
const VERSION: u32 = 3;

/// The first line of a lock table. A reader copies it out before it believes a word of it.
#[repr(C, align(64))]
struct Header {
    /// Stored last.
    magic: AtomicU64,
    version: AtomicU32,
    abi: AtomicU32,
    records: AtomicU32,
    blocks: AtomicU32,
    /// The pid namespace of the maker: the numbers of threads mean nothing in another one.
    pid_namespace: AtomicU64,
}

const _: () = assert!(size_of::<Header>() == 64);
const _: () = assert!(size_of::<Head>() == size_of::<Robust>() + 5 * 64);

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
    use super::{Head, Header, Mapped, Robust, ThreadRecord, io};
    use memmap2::{Advice, MmapOptions, MmapRaw};
    use std::os::fd::AsFd;
    use std::ptr::NonNull;

    /// A mapped table of locks, before anybody has used one of them.
    ///
    /// # Invariants
    /// 1. `mapping` is mapped for reading and writing, of memory that cannot shrink, and has at least the bytes of a
    ///    [`Header`].
    #[derive(Debug)]
    pub(super) struct Candidate {
        mapping: MmapRaw,
    }

    /// A mapped table of locks: a [`Header`], thread records, blocks.
    ///
    /// # Invariants
    /// 1. `mapping` is mapped for reading and writing, of memory that cannot shrink, and has the bytes of
    ///    [`table_len`]`(records, blocks)`.
    /// 2. `records` and `blocks` are what the mapping was checked for; they do not follow the shared header.
    #[derive(Debug)]
    pub(super) struct Table {
        mapping: MmapRaw,
        pub(super) records: usize,
        pub(super) blocks: u32,
    }

    /// Bytes of a table.
    pub(super) const fn table_len(records: usize, blocks: u32) -> usize {
        size_of::<Header>()
            + records * size_of::<ThreadRecord>()
            + blocks as usize * size_of::<Head>()
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

        /// Makes it a table.
        pub(super) fn into_table(self, records: usize, blocks: u32) -> Table {
            assert!(table_len(records, blocks) <= self.mapping.len());
            Table {
                mapping: self.mapping,
                records,
                blocks,
            }
        }
    }

    impl Table {
        /// A pointer `offset` bytes into the table.
        fn at<T>(&self, offset: usize) -> NonNull<T> {
            // SAFETY: callers stay inside the mapping (1).
            let pointer = unsafe { self.mapping.as_mut_ptr().add(offset) }.cast::<T>();
            assert!(pointer.is_aligned(), "locks at {pointer:?}");
            // SAFETY: inside a mapping, and so not null.
            unsafe { NonNull::new_unchecked(pointer) }
        }

        pub(super) fn records(&self) -> Mapped<[ThreadRecord]> {
            let first = self.at(size_of::<Header>());
            // SAFETY: the records follow the header (1); all fields are atomic or mutexes.
            unsafe { Mapped::new(NonNull::slice_from_raw_parts(first, self.records)) }
        }

        pub(super) fn block(&self, index: u32) -> Mapped<Head> {
            assert!(index < self.blocks, "lock {index} of {}", self.blocks);
            // SAFETY: the blocks follow the records, and the index was just checked (1); all fields are atomic or mutexes.
            unsafe { Mapped::new(self.at(table_len(self.records, index))) }
        }

        /// Makes the mutexes of the table. Its owner does, once, before it names the table to anybody.
        pub(super) fn initialise(&self) -> io::Result<()> {
            let records = self.records();
            let lives = (0..self.records).map(|index| NonNull::from(&records[index].life));
            let writers = (0..self.blocks).map(|index| NonNull::from(&self.block(index).writer));
            for mutex in lives.chain(writers) {
                // SAFETY: in a lock table that nobody else knows of yet.
                unsafe { Robust::initialise(mutex.as_ptr()) }?;
            }
            Ok(())
        }
    }
}

use def::{Candidate, Table, table_len};

/// Locks in memory of their own that other processes map. Unmapped with the last reference: see [`Mapped`].
#[derive(Debug)]
pub(crate) struct LockTable {
    table: Table,
    descriptor: Arc<OwnedFd>,
    id: FileId,
}

/// Every lock table of this process.
static ATTACHED: GlobalMutex<BTreeMap<FileId, Weak<LockTable>>> = GlobalMutex::new(BTreeMap::new());

impl LockTable {
    /// Makes `blocks` locks that nobody holds, for as many threads as there are `records`.
    pub(super) fn create(blocks: u32, records: usize) -> io::Result<Arc<Self>> {
        watch_forks();
        let len = table_len(records, blocks);
        let descriptor = allocate(len, "numpush-locks")?;
        add_seals(&descriptor, SealFlag::F_SEAL_SEAL)?;
        let id = FileId::of(&descriptor)?;
        // SAFETY: just made with `len` bytes, and sealed.
        let candidate = unsafe { Candidate::map(&descriptor, len) }?;
        let header = candidate.header();
        header.version.store(VERSION, Ordering::Relaxed);
        header.abi.store(abi(), Ordering::Relaxed);
        header.records.store(
            u32::try_from(records).unwrap_or(u32::MAX),
            Ordering::Relaxed,
        );
        header.blocks.store(blocks, Ordering::Relaxed);
        header
            .pid_namespace
            .store(pid_namespace(), Ordering::Relaxed);
        header.magic.store(MAGIC, Ordering::Release);
        let table = candidate.into_table(records, blocks);
        table.initialise()?;
        Ok(Self::register_table(
            &mut ATTACHED.lock(),
            table,
            descriptor,
            id,
        ))
    }

    /// Maps the locks behind a descriptor that another process sent; once, however often it is sent.
    pub(super) fn attach(descriptor: OwnedFd) -> io::Result<Arc<Self>> {
        watch_forks();
        let refused = |what| io::Error::new(io::ErrorKind::InvalidData, what);
        let id = FileId::of(&descriptor)?;
        let mut attached = ATTACHED.lock();
        if let Some(table) = attached.get(&id).and_then(Weak::upgrade) {
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
        if header.pid_namespace.load(Ordering::Relaxed) != pid_namespace() {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "the locks were made in another pid namespace, where the kernel's numbers of threads are others",
            ));
        }
        let records = header.records.load(Ordering::Relaxed) as usize;
        let blocks = header.blocks.load(Ordering::Relaxed);
        if !(1..=MOST_RECORDS).contains(&records)
            || blocks > MOST_BLOCKS
            || table_len(records, blocks) > len
        {
            return Err(refused("the locks do not fit their memory"));
        }
        let table = candidate.into_table(records, blocks);
        Ok(Self::register_table(&mut attached, table, descriptor, id))
    }

    /// The table in `memory`, if this process maps it already.
    pub(super) fn find(memory: FileId) -> Option<Arc<Self>> {
        ATTACHED.lock().get(&memory).and_then(Weak::upgrade)
    }

    fn register_table(
        attached: &mut BTreeMap<FileId, Weak<Self>>,
        table: Table,
        descriptor: OwnedFd,
        id: FileId,
    ) -> Arc<Self> {
        let made = Arc::new(Self {
            table,
            descriptor: Arc::new(descriptor),
            id,
        });
        attached.insert(id, Arc::downgrade(&made));
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

    /// Number of threads that may use the locks.
    pub(super) fn threads(&self) -> usize {
        self.table.records
    }

    /// Number of locks.
    pub(super) fn blocks(&self) -> u32 {
        self.table.blocks
    }

    /// The lock number `index`, in its life number `generation`.
    pub(super) fn lock(&self, index: u32, generation: u64) -> RawLock {
        RawLock {
            head: self.table.block(index),
            records: self.table.records(),
            index,
            generation,
        }
    }

    /// Takes a record for this thread.
    #[expect(clippy::cast_possible_truncation, reason = "a table has at most 1,024")]
    pub(super) fn register(&self) -> Result<(u16, Mapped<ThreadRecord>), LockError> {
        let records = self.table.records();
        let count = self.table.records as u32;
        // Neighbouring thread ids are usual; each begins at a record of its own.
        let first = this_thread().tid % count;
        for number in (0..count).map(|step| (first + step) % count) {
            let record = records.item(number as usize);
            if record.life.try_lock().is_some() {
                record.clear();
                record.life.record_thread();
                return Ok((number as u16, record));
            }
        }
        Err(LockError::TooManyThreads {
            max: self.table.records,
        })
    }

    /// Gives a record back that this thread has taken and holds nothing in.
    pub(super) fn unregister(record: Mapped<ThreadRecord>) {
        record.life.clear_holder();
        record.life.unlock();
    }
}

impl Drop for LockTable {
    fn drop(&mut self) {
        let mut attached = ATTACHED.lock();
        // Another thread may have mapped the same memory again already.
        if attached
            .get(&self.id)
            .is_some_and(|other| other.strong_count() == 0)
        {
            attached.remove(&self.id);
        }
    }
}

/// The inode of this process's pid namespace, pid_namespaces(7); 0 if it cannot be read.
fn pid_namespace() -> u64 {
    std::fs::metadata("/proc/self/ns/pid").map_or(0, |data| FileId::from(&data).ino)
}
