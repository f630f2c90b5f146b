//! Memory that several processes map for writing, and who may touch which bytes of it.

mod double;
mod locked;
mod pages;
mod range;
mod register;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, Weak};

use memmap2::Advice;
use nix::sys::memfd::{MFdFlags, memfd_create};
use numpush_os::{
    FileId, NO_RESIZE, add_seals, allocate, is_lent_for_writing, lock, sealed_len, size_to_allocate,
};

pub use pages::SharedPages;
pub use range::{Double, Locked, MemoryRange, Owned};
pub use register::RangeInUse;

use crate::lock::{forks, watch_forks};

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
            return Ok(register(pages));
        }
        let shaped = options.huge != HugePages::System || options.node.is_some();
        if !shaped || len == 0 {
            let descriptor = allocate(len, "numpush-pages")?;
            // SAFETY: just made with `len` bytes, sealed, and mapped nowhere.
            return unsafe { Self::map(descriptor, len, Some(forks())) }.map(register);
        }
        // Pages that were set aside are not among those that are available, so only others are asked for.
        size_to_allocate(len)?;
        Self::shaped(len, MFdFlags::empty(), options).map(register)
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
        // SAFETY: just made with `len` bytes, sealed, and mapped nowhere. They are allocated below, before anybody
        // gets the mapping.
        let pages = unsafe { Self::map(descriptor, len, Some(forks())) }?;
        if let Some(node) = options.node {
            pages.prefer_node(node)?;
        }
        if options.huge != HugePages::System {
            // A kernel without them says EINVAL, and the pages are small.
            let _ = pages.advise(Advice::HugePage);
        }
        pages.populate()?;
        Ok(pages)
    }

    /// Maps the memory behind a descriptor that another process sent; once, however often it is sent.
    ///
    /// # Errors
    /// [`io::ErrorKind::PermissionDenied`] if it could shrink, has pages that nobody has allocated, or is a
    /// [`Memfd`](numpush_os::Memfd) of this process; else what mmap(2) reports.
    pub fn attach(descriptor: OwnedFd) -> io::Result<Arc<Self>> {
        let id = FileId::of(&descriptor)?;
        if let Some(pages) = Self::find(id) {
            return Ok(pages);
        }
        if is_lent_for_writing(id) {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "this process lends the memory for writing already",
            ));
        }
        let len = sealed_len(&descriptor, NO_RESIZE)?;
        // SAFETY: the seals were just checked, and no other type of this process lends the bytes. Two threads that come
        // here at once map twice, but both get the mapping that is registered first.
        unsafe { Self::map(descriptor, len, None) }.map(register)
    }

    /// The mapping of this memory, if the process has one.
    pub fn find(memory: FileId) -> Option<Arc<Self>> {
        lock(&MAPPED).get(&memory).and_then(Weak::upgrade)
    }

    /// Maps pages now that are to be touched soon, instead of one by one; madvise(2), MADV_POPULATE_WRITE.
    ///
    /// # Errors
    /// What madvise(2) says.
    pub fn populate(&self) -> io::Result<()> {
        self.advise(Advice::PopulateWrite)
    }

    /// Bytes of it in huge pages (`ShmemPmdMapped` and `Shared_Hugetlb` of proc_pid_smaps(5)).
    ///
    /// # Errors
    /// If /proc is not there.
    pub fn huge_bytes(&self) -> io::Result<u64> {
        let start = format!("{:x}-", self.pointer(&(0..0)).addr());
        let text = std::fs::read_to_string("/proc/self/smaps")?;
        // A mapping's lines are those with a colon after a word, up to the next mapping's first.
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

/// Every mapping of shared pages in this process. The register of ranges is kept per mapping, so there must be one.
static MAPPED: Mutex<BTreeMap<FileId, Weak<SharedPages>>> = Mutex::new(BTreeMap::new());

/// The mapping of this memory that the process has already, or `pages`.
fn register(pages: SharedPages) -> Arc<SharedPages> {
    let mut mapped = lock(&MAPPED);
    if let Some(first) = mapped.get(&pages.id()).and_then(Weak::upgrade) {
        return first;
    }
    let pages = Arc::new(pages);
    mapped.retain(|_, weak| weak.strong_count() > 0);
    mapped.insert(pages.id(), Arc::downgrade(&pages));
    pages
}

#[cfg(test)]
mod tests;
