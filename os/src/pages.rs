//! Memory that several processes map for writing, and who may touch which bytes of it.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::lock::{Committing, Exclusive, Lock, Shared, inode};
use crate::mapping::{NO_RESIZE, sealed_len};
use crate::memory::{add_seals, allocate};

mod def {
    use super::{AsFd, Claims, Mutex, OwnedFd, Range, inode, io};
    use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
    use std::num::NonZeroUsize;
    use std::ptr::NonNull;
    use std::sync::Arc;

    /// Memory behind a descriptor, mapped for reading and writing, as other processes may do too.
    ///
    /// It gives no bytes away by itself: a [claim](super::Claimed) or a [lock](super::Guarded) does.
    ///
    /// # Invariants
    /// 1. `base` points to `len` bytes, mapped for reading and writing while `self` lives.
    /// 2. The memory cannot shrink, and each of its pages is allocated.
    /// 3. References into it are only made by `bytes` and `bytes_mut`, whose callers hold a claim.
    #[derive(Debug)]
    pub struct Pages {
        base: NonNull<u8>,
        len: usize,
        descriptor: Arc<OwnedFd>,
        memory: u64,
        pub(super) claims: Mutex<Claims>,
    }

    // SAFETY: the mapping belongs to the process, not to a thread; claims and locks order the access (3).
    unsafe impl Send for Pages {}
    // SAFETY: as above.
    unsafe impl Sync for Pages {}

    impl Pages {
        /// Maps `len` bytes.
        ///
        /// # Safety
        /// The memory has them and cannot shrink (2), and this process does not map it yet.
        pub(super) unsafe fn map(descriptor: OwnedFd, len: usize) -> io::Result<Self> {
            let base = match NonZeroUsize::new(len) {
                // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
                Some(length) => unsafe { Self::map_shared(length, &descriptor) }?,
                None => NonNull::<u64>::dangling().cast(),
            };
            let memory = inode(&descriptor)?;
            Ok(Self { base, len, descriptor: Arc::new(descriptor), memory, claims: Mutex::default() })
        }

        /// # Safety
        /// None: it is `mmap` that is marked unsafe.
        unsafe fn map_shared(len: NonZeroUsize, descriptor: impl AsFd) -> io::Result<NonNull<u8>> {
            let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
            // SAFETY: as the caller says.
            Ok(unsafe { mmap(None, len, protection, MapFlags::MAP_SHARED, descriptor, 0) }?.cast())
        }

        /// Bytes of the memory.
        pub fn len(&self) -> usize {
            self.len
        }

        /// True if there are none.
        pub fn is_empty(&self) -> bool {
            self.len == 0
        }

        /// The descriptor; whoever gets it can read and write all of the memory.
        pub fn descriptor(&self) -> &Arc<OwnedFd> {
            &self.descriptor
        }

        /// The number of the memory, the same in every process.
        pub fn memory(&self) -> u64 {
            self.memory
        }

        pub(super) fn in_core(&self, range: &Range<usize>) -> io::Result<usize> {
            const PAGE: usize = 4096;
            let (start, end) = (range.start / PAGE * PAGE, range.end.min(self.len));
            if start >= end {
                return Ok(0);
            }
            let mut pages = vec![0_u8; (end - start).div_ceil(PAGE)];
            let first = self.pointer(&(start..end)).as_ptr().cast();
            // SAFETY: the range is mapped, and there is a byte for each of its pages.
            let result = unsafe { libc::mincore(first, end - start, pages.as_mut_ptr()) };
            if result != 0 {
                return Err(io::Error::last_os_error());
            }
            let resident = pages.iter().filter(|&&page| page & 1 == 1).count() * PAGE;
            Ok(resident.min(range.len()))
        }

        pub(super) fn advise(&self, range: Range<usize>, advice: libc::c_int) -> io::Result<()> {
            assert!(range.start <= range.end && range.end <= self.len);
            if range.is_empty() {
                return Ok(());
            }
            // SAFETY: inside the mapping (1), by the check above.
            let start = unsafe { self.base.add(range.start) };
            // SAFETY: the range is mapped; none of the advices we give changes a byte.
            let result = unsafe { libc::madvise(start.as_ptr().cast(), range.len(), advice) };
            if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
        }

        /// Prefers memory of NUMA node `node` for what is not allocated yet; mbind(2), MPOL_PREFERRED.
        pub(super) fn prefer_node(&self, node: u32) -> io::Result<()> {
            const MPOL_PREFERRED: libc::c_long = 1;
            let mask = 1_u64.checked_shl(node).ok_or(io::ErrorKind::InvalidInput)?;
            let bits = u64::BITS as usize;
            // SAFETY: the range is ours (1); the kernel reads one word of the mask.
            let result = unsafe {
                libc::syscall(libc::SYS_mbind, self.base, self.len, MPOL_PREFERRED, &raw const mask, bits, 0)
            };
            if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
        }

        /// Where the bytes of `range` are.
        pub(super) fn pointer(&self, range: &Range<usize>) -> NonNull<u8> {
            assert!(range.start <= range.end && range.end <= self.len);
            // SAFETY: inside the mapping (1), by the check above.
            unsafe { self.base.add(range.start) }
        }

        /// # Safety
        /// Nobody, in no process, writes the bytes while the borrow lasts.
        pub(super) unsafe fn bytes(&self, range: &Range<usize>) -> &[u8] {
            // SAFETY: invariants 1 and 2; nobody writes, says the caller.
            unsafe { std::slice::from_raw_parts(self.pointer(range).as_ptr(), range.len()) }
        }

        /// # Safety
        /// Nobody else, in no process, reads or writes the bytes while the borrow lasts.
        #[expect(clippy::mut_from_ref, reason = "the claim is what is borrowed mutably")]
        pub(super) unsafe fn bytes_mut(&self, range: &Range<usize>) -> &mut [u8] {
            // SAFETY: invariants 1 and 2; nobody else touches them, says the caller.
            unsafe { std::slice::from_raw_parts_mut(self.pointer(range).as_ptr(), range.len()) }
        }
    }

    impl Drop for Pages {
        fn drop(&mut self) {
            if self.len > 0 {
                // SAFETY: the range is ours (1), and no borrow outlives `self`. It cannot fail for such a range.
                let _ = unsafe { munmap(self.base.cast(), self.len) };
            }
        }
    }
}

pub use def::Pages;

/// Which bytes are spoken for in this process, and by what right.
#[derive(Debug, Default)]
struct Claims {
    ranges: BTreeMap<usize, Claim>,
    /// The lock of each part that was opened, by the lock of the whole, its epoch and the part's number.
    parts: HashMap<(usize, u64, usize), (usize, usize)>,
}

#[derive(Clone, Copy, Debug)]
struct Claim {
    end: usize,
    right: Right,
    count: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Right {
    /// One owner, who needs no lock.
    Own,
    /// Whoever holds this lock.
    Lock(usize),
    /// Whoever holds this lock, one of two buffers at a time.
    Pair(usize),
}

/// The huge page of x86-64 and of aarch64 with small pages.
pub const HUGE_PAGE: usize = 2 << 20;

/// Huge pages: fewer faults and fewer entries in the processor's translation cache.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum HugePages {
    /// As the system does by itself.
    #[default]
    System,
    /// Asked for where the kernel gives them to shared memory (/sys/kernel/mm/transparent_hugepage/shmem_enabled).
    Advise,
    /// From those that the administrator has set aside (/proc/sys/vm/nr_hugepages), for lengths that are whole ones; as
    /// [`Self::Advise`] if there are not enough.
    Reserved,
}

/// How memory is to be had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PageOptions {
    /// Whether to ask for huge pages. They are never required.
    pub huge: HugePages,
    /// The NUMA node whose memory is preferred.
    pub node: Option<u32>,
}

/// Bytes that somebody else in this process has claimed already.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bytes {} to {} are in use already", .range.start, .range.end)]
pub struct Overlap {
    /// The bytes that were asked for.
    pub range: Range<usize>,
}

impl Pages {
    /// Makes `len` bytes of zeros.
    ///
    /// # Errors
    /// [`io::ErrorKind::OutOfMemory`] if they cannot be had, and what memfd_create(2) and mbind(2) say.
    pub fn new(len: usize, options: PageOptions) -> io::Result<Arc<Self>> {
        if options.huge == HugePages::Reserved
            && len > 0
            && len.is_multiple_of(HUGE_PAGE)
            && let Ok(pages) = Self::of_reserved(len, options.node)
        {
            return register(pages);
        }
        let shaped = options.huge != HugePages::System || options.node.is_some();
        if !shaped || len == 0 {
            let descriptor = allocate(len, "numpush-pages")?;
            // SAFETY: just made with so many bytes, sealed, and mapped nowhere.
            return unsafe { Self::map(descriptor, len) }.and_then(register);
        }
        // Pages are shaped when they are allocated, so the mapping and its advice come first, and the pages by
        // MADV_POPULATE_WRITE: like fallocate, it fails instead of faulting.
        let size = crate::memory::size_to_allocate(len)?;
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        let descriptor = memfd_create("numpush-pages", flags)?;
        nix::unistd::ftruncate(&descriptor, size)?;
        add_seals(&descriptor, NO_RESIZE)?;
        // SAFETY: just made with so many bytes, sealed, and mapped nowhere. They are allocated below, before anybody
        // gets the mapping.
        let pages = unsafe { Self::map(descriptor, len) }?;
        if let Some(node) = options.node {
            pages.prefer_node(node)?;
        }
        if options.huge != HugePages::System {
            // A kernel without them says EINVAL, and the pages are small.
            let _ = pages.advise(0..len, libc::MADV_HUGEPAGE);
        }
        pages.advise(0..len, libc::MADV_POPULATE_WRITE)?;
        register(pages)
    }

    /// Takes `len` bytes of the huge pages that were set aside; memfd_create(2), MFD_HUGETLB.
    fn of_reserved(len: usize, node: Option<u32>) -> io::Result<Self> {
        let size = i64::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING | MFdFlags::MFD_HUGETLB;
        let descriptor = memfd_create("numpush-pages", flags)?;
        nix::unistd::ftruncate(&descriptor, size)?;
        add_seals(&descriptor, NO_RESIZE)?;
        // SAFETY: just made with so many bytes, sealed, and mapped nowhere. They are allocated below.
        let pages = unsafe { Self::map(descriptor, len) }?;
        if let Some(node) = node {
            pages.prefer_node(node)?;
        }
        pages.advise(0..len, libc::MADV_POPULATE_WRITE)?;
        Ok(pages)
    }

    /// Maps the memory behind a descriptor that another process sent; once, however often it is sent.
    ///
    /// # Errors
    /// [`io::ErrorKind::PermissionDenied`] if it could shrink or has pages that nobody has allocated.
    pub fn attach(descriptor: OwnedFd) -> io::Result<Arc<Self>> {
        if let Some(pages) = Self::find(inode(&descriptor)?) {
            return Ok(pages);
        }
        let len = sealed_len(&descriptor, NO_RESIZE)?;
        // SAFETY: the seals were just checked. Two threads that come here at once map twice, and each claims in its
        // own mapping: but the register below keeps only one, and gives it to both.
        unsafe { Self::map(descriptor, len) }.and_then(register)
    }

    /// The memory of this number, if this process maps it.
    pub fn find(memory: u64) -> Option<Arc<Self>> {
        mapped().get(memory)
    }

    /// Bytes of `range` that are in memory; mincore(2).
    ///
    /// # Errors
    /// What mincore(2) says.
    pub fn resident(&self, range: &Range<usize>) -> io::Result<usize> {
        self.in_core(range)
    }

    /// Maps pages now that are to be touched soon, instead of one by one; madvise(2), MADV_POPULATE_WRITE.
    ///
    /// # Errors
    /// What madvise(2) says.
    pub fn populate(&self) -> io::Result<()> {
        self.advise(0..self.len(), libc::MADV_POPULATE_WRITE)
    }

    /// Bytes of it in huge pages (`ShmemPmdMapped` and `Shared_Hugetlb` of proc_pid_smaps(5)).
    ///
    /// # Errors
    /// If /proc is not there.
    pub fn huge_bytes(&self) -> io::Result<u64> {
        let start = format!("{:x}-", self.pointer(&(0..0)).addr());
        let text = std::fs::read_to_string("/proc/self/smaps")?;
        // A mapping's lines are those with a colon behind a word, up to the next mapping's first.
        let is_fact = |line: &&str| line.split_once(':').is_some_and(|(name, _)| !name.contains(' '));
        let lines = text.lines().skip_while(|line| !line.starts_with(&start)).skip(1).take_while(is_fact);
        let kib = lines.filter_map(|line| {
            let (name, value) = line.split_once(':')?;
            let counts = matches!(name, "ShmemPmdMapped" | "Shared_Hugetlb" | "Private_Hugetlb");
            value.trim().trim_end_matches(" kB").parse::<u64>().ok().filter(|_| counts)
        });
        Ok(kib.sum::<u64>() * 1024)
    }

    fn claims(&self) -> MutexGuard<'_, Claims> {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Claims bytes that only their owner touches, without a lock.
    ///
    /// # Errors
    /// [`Overlap`] if somebody in this process has one of them. Other processes are not asked: hand out bytes in the
    /// process that made the memory.
    pub fn claim(self: &Arc<Self>, range: Range<usize>) -> Result<Claimed, Overlap> {
        self.take(&range, Right::Own)?;
        Ok(Claimed { pages: Arc::clone(self), range })
    }

    /// Joins those who touch the bytes under `lock`.
    ///
    /// # Errors
    /// [`Overlap`] if somebody in this process has one of them by another right.
    pub fn guard(self: &Arc<Self>, range: Range<usize>, lock: Lock) -> Result<Guarded, Overlap> {
        self.take(&range, Right::Lock(lock.id()))?;
        Ok(Guarded { pages: Arc::clone(self), range, lock })
    }

    /// Joins those who read and commit the bytes, two buffers of one length, under `lock`.
    ///
    /// # Errors
    /// As [`Self::guard`].
    pub fn pair(self: &Arc<Self>, range: Range<usize>, lock: Lock) -> Result<Pair, Overlap> {
        self.take(&range, Right::Pair(lock.id()))?;
        Ok(Pair { pages: Arc::clone(self), range, lock })
    }

    fn take(&self, range: &Range<usize>, right: Right) -> Result<(), Overlap> {
        let overlap = || Overlap { range: range.clone() };
        if range.start > range.end || range.end > self.len() {
            return Err(overlap());
        }
        if range.is_empty() {
            return Ok(());
        }
        let mut claims = self.claims();
        if let Some(same) = claims.ranges.get_mut(&range.start)
            && same.end == range.end
            && same.right == right
            && right != Right::Own
        {
            same.count += 1;
            return Ok(());
        }
        let before = claims.ranges.range(..range.end).next_back();
        if before.is_some_and(|(_, claim)| claim.end > range.start) {
            return Err(overlap());
        }
        claims.ranges.insert(range.start, Claim { end: range.end, right, count: 1 });
        Ok(())
    }

    fn give_back(&self, range: &Range<usize>) {
        let mut claims = self.claims();
        if let Some(claim) = claims.ranges.get_mut(&range.start) {
            claim.count -= 1;
            if claim.count == 0 {
                claims.ranges.remove(&range.start);
            }
        }
    }

    /// Changes the right to bytes that one owner has, at once.
    fn convert(&self, range: &Range<usize>, right: Right) -> bool {
        if range.is_empty() {
            return true;
        }
        let mut claims = self.claims();
        let Some(claim) = claims.ranges.get_mut(&range.start).filter(|claim| claim.count == 1) else {
            return false;
        };
        claim.right = right;
        true
    }
}

type Mapped = HashMap<u64, Weak<Pages>>;

struct MappedGuard(MutexGuard<'static, Option<Mapped>>);

impl MappedGuard {
    fn get(&self, memory: u64) -> Option<Arc<Pages>> {
        self.0.as_ref().and_then(|map| map.get(&memory)).and_then(Weak::upgrade)
    }
}

/// Every mapping of shared pages in this process, by inode: claims are kept per mapping, so that there must
/// be one.
fn mapped() -> MappedGuard {
    static MAPPED: Mutex<Option<Mapped>> = Mutex::new(None);
    MappedGuard(MAPPED.lock().unwrap_or_else(PoisonError::into_inner))
}

fn register(pages: Pages) -> io::Result<Arc<Pages>> {
    let memory = pages.memory();
    let mut all = mapped();
    if let Some(first) = all.get(memory) {
        return Ok(first);
    }
    let pages = Arc::new(pages);
    let map = all.0.get_or_insert_default();
    map.retain(|_, weak| weak.strong_count() > 0);
    map.insert(memory, Arc::downgrade(&pages));
    Ok(pages)
}

/// Bytes of one owner.
#[derive(Debug)]
pub struct Claimed {
    pages: Arc<Pages>,
    range: Range<usize>,
}

impl Claimed {
    /// The memory they lie in.
    pub fn pages(&self) -> &Arc<Pages> {
        &self.pages
    }

    /// Where they lie in it.
    pub fn range(&self) -> &Range<usize> {
        &self.range
    }

    /// The bytes, for writing.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: the claim is ours alone in this process, and other processes are not told of the bytes before they
        // are guarded.
        unsafe { self.pages.bytes_mut(&self.range) }
    }

    /// Lets whoever holds `lock` touch the bytes from now on.
    ///
    /// # Panics
    /// Never: a claim has one owner.
    pub fn into_guarded(self, lock: Lock) -> Guarded {
        let converted = self.pages.convert(&self.range, Right::Lock(lock.id()));
        assert!(converted, "a claim of one owner has one owner");
        let (pages, range) = self.forget();
        Guarded { pages, range, lock }
    }

    /// Lets whoever holds `lock` read or commit the bytes from now on, as two buffers of one length.
    ///
    /// # Panics
    /// Never: a claim has one owner.
    pub fn into_pair(self, lock: Lock) -> Pair {
        let converted = self.pages.convert(&self.range, Right::Pair(lock.id()));
        assert!(converted, "a claim of one owner has one owner");
        let (pages, range) = self.forget();
        Pair { pages, range, lock }
    }

    /// Splits the claim into one for the bytes up to `at` and one for those from there on.
    ///
    /// # Panics
    /// If there are fewer bytes.
    pub fn split(self, at: usize) -> (Self, Self) {
        assert!(at <= self.range.len(), "a split of {} bytes at {at}", self.range.len());
        let (pages, range) = self.forget();
        let middle = range.start + at;
        let mut claims = pages.claims();
        claims.ranges.remove(&range.start);
        let parts = [range.start..middle, middle..range.end];
        for part in parts.iter().filter(|part| !part.is_empty()) {
            claims.ranges.insert(part.start, Claim { end: part.end, right: Right::Own, count: 1 });
        }
        drop(claims);
        let [first, second] = parts;
        (Self { pages: Arc::clone(&pages), range: first }, Self { pages, range: second })
    }

    /// The parts, without giving the claim back.
    fn forget(mut self) -> (Arc<Pages>, Range<usize>) {
        let range = std::mem::take(&mut self.range);
        (Arc::clone(&self.pages), range)
    }
}

impl AsRef<[u8]> for Claimed {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: as for `bytes_mut`; the borrow is shared.
        unsafe { self.pages.bytes(&self.range) }
    }
}

/// Bytes that whoever holds their lock may touch.
#[derive(Debug)]
pub struct Guarded {
    pages: Arc<Pages>,
    range: Range<usize>,
    lock: Lock,
}

impl Guarded {
    /// The memory they lie in.
    pub fn pages(&self) -> &Arc<Pages> {
        &self.pages
    }

    /// Where they lie in it.
    pub fn range(&self) -> &Range<usize> {
        &self.range
    }

    /// The lock.
    pub fn lock(&self) -> Lock {
        self.lock
    }

    /// The bytes, while the lock is held for reading.
    ///
    /// # Panics
    /// If it is another lock that is held.
    pub fn bytes<'a>(&'a self, held: &'a Shared) -> &'a [u8] {
        assert!(held.guards(self.lock), "the lock of other bytes");
        // SAFETY: the lock is held shared for as long as the borrow lasts, so nobody holds it to write; the claim makes
        // sure that nobody in this process touches the bytes by another right.
        unsafe { self.pages.bytes(&self.range) }
    }

    /// The bytes, while the lock is held for writing.
    ///
    /// # Panics
    /// If it is another lock that is held.
    pub fn bytes_exclusive<'a>(&'a self, held: &'a Exclusive) -> &'a [u8] {
        assert!(held.guards(self.lock), "the lock of other bytes");
        // SAFETY: the lock is held alone; the borrow of `held` is shared, so nobody writes by it either.
        unsafe { self.pages.bytes(&self.range) }
    }

    /// The bytes, to write.
    ///
    /// # Panics
    /// If it is another lock that is held.
    pub fn bytes_mut<'a>(&'a self, held: &'a mut Exclusive) -> &'a mut [u8] {
        assert!(held.guards(self.lock), "the lock of other bytes");
        // SAFETY: the lock is held alone, and `held` is borrowed alone: nobody touches the bytes by it or without it.
        unsafe { self.pages.bytes_mut(&self.range) }
    }

    /// The bytes of several, to write at the same time.
    ///
    /// # Panics
    /// If it is another lock that is held, or if two of them overlap.
    pub fn all_bytes_mut<'a>(all: &[&'a Self], held: &'a mut Exclusive) -> Vec<&'a mut [u8]> {
        Self::assert_disjoint(all);
        all.iter()
            .map(|one| {
                assert!(held.guards(one.lock), "the lock of other bytes");
                // SAFETY: as for `bytes_mut`, and no two of them overlap.
                unsafe { one.pages.bytes_mut(&one.range) }
            })
            .collect()
    }

    pub(crate) fn assert_disjoint(all: &[&Self]) {
        let place = |one: &&Self| (one.pages.pointer(&one.range).addr().get(), one.range.len());
        let mut places: Vec<(usize, usize)> = all.iter().map(place).filter(|(_, len)| *len > 0).collect();
        places.sort_unstable();
        assert!(places.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0), "bytes borrowed twice");
    }

    /// The bytes of neighbours, one run of memory, while each one's lock is held for reading.
    ///
    /// # Panics
    /// If a lock is another one, or if they are no neighbours.
    pub fn run<'a>(neighbours: &'a [Self], held: &'a [Shared]) -> &'a [u8] {
        assert_eq!(neighbours.len(), held.len(), "a lock for each");
        let locked = neighbours.iter().zip(held).all(|(one, held)| held.guards(one.lock));
        assert!(locked, "the lock of other bytes");
        let (pages, range) = run_of(neighbours);
        // SAFETY: every lock is held as for `bytes`, and the run is what they guard together.
        unsafe { pages.bytes(&range) }
    }

    /// The bytes of neighbours, one run of memory, to write.
    ///
    /// # Panics
    /// If a lock is another one, or if they are no neighbours.
    pub fn run_mut<'a>(neighbours: &'a [Self], held: &'a mut [Exclusive]) -> &'a mut [u8] {
        assert_eq!(neighbours.len(), held.len(), "a lock for each");
        let locked = neighbours.iter().zip(&*held).all(|(one, held)| held.guards(one.lock));
        assert!(locked, "the lock of other bytes");
        let (pages, range) = run_of(neighbours);
        // SAFETY: every lock is held as for `bytes_mut`, and the run is what they guard together.
        unsafe { pages.bytes_mut(&range) }
    }

    /// Takes the bytes from the lock, if nobody else in this process has them.
    ///
    /// # Errors
    /// Gives them back if somebody has.
    pub fn into_claimed(mut self) -> Result<Claimed, Self> {
        if !self.pages.convert(&self.range, Right::Own) {
            return Err(self);
        }
        let range = std::mem::take(&mut self.range);
        Ok(Claimed { pages: Arc::clone(&self.pages), range })
    }

    /// Part `number` of the bytes, to write while the part's own lock is held, beside workers on the other parts.
    ///
    /// # Errors
    /// [`Overlap`] if this process knows the part under another lock.
    ///
    /// # Panics
    /// If the locks held are others.
    pub(crate) fn part_pointer<'a>(
        &'a self,
        whole: &'a Shared,
        part: &'a Exclusive,
        number: usize,
    ) -> Result<std::ptr::NonNull<u8>, Overlap> {
        assert_eq!(whole.lock().id(), self.lock.id(), "the lock of other bytes");
        let epoch = whole.parts().ok_or_else(|| Overlap { range: self.range.clone() })?;
        let key = (self.lock.id(), epoch, number);
        let part = (part.lock().id(), number);
        let mut claims = self.pages.claims();
        // Parts of earlier epochs are gone for good.
        claims.parts.retain(|(lock, other, _), _| *lock != key.0 || *other == epoch);
        if *claims.parts.entry(key).or_insert(part) != part {
            return Err(Overlap { range: self.range.clone() });
        }
        Ok(self.pages.pointer(&self.range))
    }
}

/// Two buffers of one length: one is read while the other is written.
#[derive(Debug)]
pub struct Pair {
    pages: Arc<Pages>,
    range: Range<usize>,
    lock: Lock,
}

impl Pair {
    /// The memory they lie in.
    pub fn pages(&self) -> &Arc<Pages> {
        &self.pages
    }

    /// Where they lie in it, one behind the other.
    pub fn range(&self) -> &Range<usize> {
        &self.range
    }

    /// The lock.
    pub fn lock(&self) -> Lock {
        self.lock
    }

    fn buffer(&self, commits: u64) -> Range<usize> {
        let half = self.range.len() / 2;
        let start = self.range.start + if commits & 1 == 0 { 0 } else { half };
        start..start + half
    }

    /// The last commit, which stays as it is while the lock is held.
    ///
    /// # Panics
    /// If it is another lock that is held.
    pub fn bytes<'a>(&'a self, held: &'a Shared) -> &'a [u8] {
        assert_eq!(held.lock().id(), self.lock.id(), "the lock of other bytes");
        // SAFETY: a committer writes the other buffer; before it turns to this one it passes the slot we hold.
        unsafe { self.pages.bytes(&self.buffer(held.commits())) }
    }

    /// The last commit, and the bytes to write the next one to.
    ///
    /// # Panics
    /// If it is another lock that is held.
    pub fn both<'a>(&'a self, held: &'a mut Committing) -> (&'a [u8], &'a mut [u8]) {
        assert_eq!(held.lock().id(), self.lock.id(), "the lock of other bytes");
        // SAFETY: only the holder of the writer's mutex writes either buffer, and it writes the other.
        let last = unsafe { self.pages.bytes(&self.buffer(held.commits())) };
        // SAFETY: its readers have left their slots since it was the last commit; `held` is borrowed alone.
        let next = unsafe { self.pages.bytes_mut(&self.buffer(held.commits() + 1)) };
        (last, next)
    }
}

/// The run of bytes that neighbours make together.
fn run_of(neighbours: &[Guarded]) -> (&Pages, Range<usize>) {
    let (Some(first), Some(last)) = (neighbours.first(), neighbours.last()) else {
        panic!("a run of at least one");
    };
    let joined = neighbours
        .windows(2)
        .all(|pair| pair[0].range.end == pair[1].range.start && Arc::ptr_eq(&pair[0].pages, &pair[1].pages));
    assert!(joined, "bytes that are no neighbours");
    (&first.pages, first.range.start..last.range.end)
}

macro_rules! give_back {
    ($($name:ident),*) => {
        $(impl Drop for $name {
            fn drop(&mut self) {
                if !self.range.is_empty() {
                    self.pages.give_back(&self.range);
                }
            }
        })*
    };
}

give_back!(Claimed, Guarded, Pair);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::{Attempt, Block};

    fn pages() -> Arc<Pages> {
        Pages::new(8192, PageOptions::default()).unwrap()
    }

    #[test]
    fn bytes_have_one_owner() {
        let pages = pages();
        let first = pages.claim(0..128).unwrap();
        assert!(pages.claim(64..192).is_err());
        assert!(pages.claim(127..128).is_err());
        let block = Block::new().unwrap();
        assert!(pages.guard(0..128, block.lock()).is_err());
        let (left, right) = first.split(64);
        drop(left);
        assert!(pages.claim(0..64).is_ok());
        assert!(pages.claim(0..65).is_err());
        drop(right);
        assert!(pages.claim(0..8192).is_ok());
        assert!(pages.claim(0..8193).is_err());
    }

    #[test]
    fn a_lock_guards_its_bytes_only() {
        let pages = pages();
        let (block, other) = (Block::new().unwrap(), Block::new().unwrap());
        let guarded = pages.claim(0..64).unwrap().into_guarded(block.lock());
        let again = pages.guard(0..64, block.lock()).unwrap();
        assert!(pages.guard(0..64, other.lock()).is_err());
        let mut held = block.lock().write(Attempt::default()).unwrap();
        guarded.bytes_mut(&mut held)[0] = 7;
        assert_eq!(again.bytes_exclusive(&held)[0], 7);
        assert!(guarded.into_claimed().is_err(), "still joined");
        drop(held);
        drop(again);
    }

    #[test]
    #[should_panic = "the lock of other bytes"]
    fn another_lock_opens_nothing() {
        let pages = pages();
        let (block, other) = (Block::new().unwrap(), Block::new().unwrap());
        let guarded = pages.claim(0..64).unwrap().into_guarded(block.lock());
        guarded.bytes(&other.lock().read(Attempt::default()).unwrap());
    }

    #[test]
    fn a_reader_keeps_its_commit() {
        let pages = pages();
        let block = Block::new().unwrap();
        let pair = pages.claim(0..128).unwrap().into_pair(block.lock());
        let commit = |value: u8| {
            let mut held = block.lock().commit(Attempt::default())?;
            pair.both(&mut held).1.fill(value);
            held.publish();
            Ok::<_, crate::lock::LockError>(())
        };
        commit(1).unwrap();
        std::thread::scope(|scope| {
            let held = block.lock().read(Attempt::default()).unwrap();
            let seen = pair.bytes(&held);
            scope.spawn(|| commit(2).unwrap()).join().unwrap();
            assert_eq!(seen[0], 1, "the second commit went to the other buffer");
            assert_eq!(pair.bytes(&held)[0], 2);
        });
    }

    #[test]
    fn the_same_memory_is_mapped_once() {
        let pages = pages();
        let again = Pages::attach(pages.descriptor().try_clone().unwrap()).unwrap();
        assert!(Arc::ptr_eq(&pages, &again));
    }

    #[test]
    fn huge_pages_are_asked_for_and_never_required() {
        for huge in [HugePages::System, HugePages::Advise, HugePages::Reserved] {
            let pages = Pages::new(4 << 20, PageOptions { huge, ..PageOptions::default() }).unwrap();
            println!("{huge:?}: {} bytes in huge pages", pages.huge_bytes().unwrap());
            assert!(pages.huge_bytes().unwrap() <= 4 << 20);
            pages.claim(0..4 << 20).unwrap().bytes_mut().fill(1);
            // Another process maps it as well.
            drop((Pages::attach(pages.descriptor().try_clone().unwrap()).unwrap(), pages));
        }
    }

    #[test]
    fn a_node_is_preferred_where_there_are_nodes() {
        let on = |node| Pages::new(1 << 20, PageOptions { node: Some(node), ..PageOptions::default() });
        match on(0) {
            Ok(pages) => pages.claim(0..1 << 20).unwrap().bytes_mut().fill(1),
            Err(error) => println!("NOT RUN: this kernel has no NUMA: {error}"),
        }
        assert_eq!(on(64).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
