//! Memory that several processes map for writing, and who may touch which bytes of it.

mod atomics;
mod double;
mod element;
mod growing;
mod locked;
mod make;
mod nodes;
mod options;
mod pages;
mod range;
mod register;
mod unmapped;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};

use nix::fcntl::SealFlag;
use numpush_os::{FileId, GlobalMutex, NO_RESIZE, sealed_len};

pub use element::AtomicElement;
pub use growing::GrowingPages;
pub use options::{HugePages, NodePolicy, PageOptions};
pub use pages::SharedPages;
pub use range::{Atomic, Double, Locked, MemoryRange, Owned};
pub use register::RangeInUse;
pub use unmapped::when_unmapped;

/// The seals of shared pages: no change of size, and no further seal.
///
/// Every other type that lends bytes of memory wants a seal against writing: `SealedMapping`, `PeerMapping` and
/// `LentMemory` of `numpush-os`. The kernel maps no memory for writing that has one, and adds none to memory that has
/// these. So one memory has bytes of one type only, in all processes.
const SEALS: SealFlag = NO_RESIZE.union(SealFlag::F_SEAL_SEAL);

/// The huge page of x86-64 and of aarch64 with small pages.
pub const HUGE_PAGE: usize = 2 << 20;

impl SharedPages {
    /// Maps the memory behind a descriptor that another process sent; once, however often it is sent.
    ///
    /// # Errors
    /// [`io::ErrorKind::PermissionDenied`] if it could shrink, has pages that nobody has allocated, or may be mapped by a
    /// type that lends its bytes without a lock; else what mmap(2) reports.
    pub fn attach(descriptor: OwnedFd) -> io::Result<Arc<Self>> {
        let id = FileId::of(&descriptor)?;
        if let Some(pages) = Self::find(id) {
            return Ok(pages);
        }
        let len = sealed_len(&descriptor, SEALS)?;
        // SAFETY: the seals were just checked; with them, and mapped for writing as here, no other type of this process
        // lends the bytes. Two threads that come here at once map twice, but both get the mapping that is registered first.
        unsafe { Self::map(descriptor, len, None) }.map(register)
    }

    /// The mapping of this memory, if the process has one.
    pub fn find(memory: FileId) -> Option<Arc<Self>> {
        MAPPED.lock().get(&memory).and_then(Weak::upgrade)
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
static MAPPED: GlobalMutex<BTreeMap<FileId, Weak<SharedPages>>> = GlobalMutex::new(BTreeMap::new());

/// The mapping of this memory that the process has already, or `pages`.
fn register(pages: SharedPages) -> Arc<SharedPages> {
    let mut mapped = MAPPED.lock();
    if let Some(first) = mapped.get(&pages.id()).and_then(Weak::upgrade) {
        return first;
    }
    let pages = Arc::new(pages);
    mapped.retain(|_, weak| weak.strong_count() > 0);
    mapped.insert(pages.id(), Arc::downgrade(&pages));
    pages
}

#[cfg(test)]
mod races;
#[cfg(test)]
mod tests;
