//! Memory that several processes map for writing, and who may touch which bytes of it.

mod double;
mod locked;
mod pages;
mod range;
mod register;

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use nix::sys::memfd::{MFdFlags, memfd_create};
use numpush_os::{NO_RESIZE, add_seals, allocate, sealed_len, size_to_allocate};

pub use pages::SharedPages;
pub use range::{Double, Locked, MemoryRange, Owned};
pub use register::RangeInUse;

use crate::lock::{forks, inode, watch_forks};

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

/// How pages are made: by default as the system does by itself.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PageOptions {
    /// Whether to ask for huge pages. They are never required. Default: [`HugePages::System`].
    pub huge: HugePages,
    /// The NUMA node whose memory is preferred. Default: none.
    pub node: Option<u32>,
}

impl PageOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets whether to ask for huge pages.
    #[must_use]
    pub fn huge(mut self, huge: HugePages) -> Self {
        self.huge = huge;
        self
    }

    /// Sets the NUMA node whose memory is preferred.
    #[must_use]
    pub fn node(mut self, node: u32) -> Self {
        self.node = Some(node);
        self
    }
}

impl SharedPages {
    /// Makes `len` bytes of zeros.
    ///
    /// # Errors
    /// [`io::ErrorKind::OutOfMemory`] if they cannot be had, and what memfd_create(2) and mbind(2) say.
    pub fn new(len: usize, options: PageOptions) -> io::Result<Arc<Self>> {
        watch_forks();
        let reserved =
            options.huge == HugePages::Reserved && len > 0 && len.is_multiple_of(HUGE_PAGE);
        if reserved && let Ok(pages) = Self::shaped(len, MFdFlags::MFD_HUGETLB, options) {
            return register(pages);
        }
        let shaped = options.huge != HugePages::System || options.node.is_some();
        if !shaped || len == 0 {
            let descriptor = allocate(len, "numpush-pages")?;
            // SAFETY: just made with so many bytes, sealed, and mapped nowhere.
            return unsafe { Self::map(descriptor, len, Some(forks())) }.and_then(register);
        }
        // Pages that were set aside are not among those that are available, so only others are asked for.
        size_to_allocate(len)?;
        register(Self::shaped(len, MFdFlags::empty(), options)?)
    }

    /// Takes `len` bytes of the shape that `options` ask for, from the pages that `kind` names.
    ///
    /// Pages are shaped when they are allocated, so the mapping and its advice come first, and the pages by
    /// MADV_POPULATE_WRITE: like fallocate, it fails instead of faulting.
    fn shaped(len: usize, kind: MFdFlags, options: PageOptions) -> io::Result<Self> {
        let size = i64::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        let descriptor = memfd_create("numpush-pages", flags | kind)?;
        nix::unistd::ftruncate(&descriptor, size)?;
        add_seals(&descriptor, NO_RESIZE)?;
        // SAFETY: just made with so many bytes, sealed, and mapped nowhere. They are allocated below, before anybody
        // gets the mapping.
        let pages = unsafe { Self::map(descriptor, len, Some(forks())) }?;
        if let Some(node) = options.node {
            pages.prefer_node(node)?;
        }
        if options.huge != HugePages::System {
            // A kernel without them says EINVAL, and the pages are small.
            let _ = pages.advise(0..len, libc::MADV_HUGEPAGE);
        }
        pages.populate()?;
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
        unsafe { Self::map(descriptor, len, None) }.and_then(register)
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
        let is_fact = |line: &&str| {
            line.split_once(':')
                .is_some_and(|(name, _)| !name.contains(' '))
        };
        let lines = text
            .lines()
            .skip_while(|line| !line.starts_with(&start))
            .skip(1)
            .take_while(is_fact);
        let kib = lines.filter_map(|line| {
            let (name, value) = line.split_once(':')?;
            let counts = matches!(
                name,
                "ShmemPmdMapped" | "Shared_Hugetlb" | "Private_Hugetlb"
            );
            value
                .trim()
                .trim_end_matches(" kB")
                .parse::<u64>()
                .ok()
                .filter(|_| counts)
        });
        Ok(kib.sum::<u64>() * 1024)
    }
}

type Mapped = HashMap<u64, Weak<SharedPages>>;

struct MappedGuard(MutexGuard<'static, Option<Mapped>>);

impl MappedGuard {
    fn get(&self, memory: u64) -> Option<Arc<SharedPages>> {
        self.0
            .as_ref()
            .and_then(|map| map.get(&memory))
            .and_then(Weak::upgrade)
    }
}

/// Every mapping of shared pages in this process, by inode: claims are kept per mapping, so that there must
/// be one.
fn mapped() -> MappedGuard {
    static MAPPED: Mutex<Option<Mapped>> = Mutex::new(None);
    MappedGuard(MAPPED.lock().unwrap_or_else(PoisonError::into_inner))
}

fn register(pages: SharedPages) -> io::Result<Arc<SharedPages>> {
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

#[cfg(test)]
mod tests;
