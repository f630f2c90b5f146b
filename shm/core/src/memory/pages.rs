//! The mapping itself, and the only ways to its bytes.

use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Mutex;

use super::register::Register;
use crate::lock::{forks, inode};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::sync::Arc;

/// Memory behind a descriptor, mapped for reading and writing, as other processes may do too.
///
/// It lends no byte by itself: a [range of it](super::MemoryRange) does.
///
/// # Invariants
/// 1. `base` points to `len` bytes, mapped for reading and writing while `self` lives.
/// 2. The memory cannot shrink, and each of its pages is allocated.
/// 3. References into it are only made by `bytes` and `bytes_mut`, whose callers have a [`MemoryRange`](super::MemoryRange).
#[derive(Debug)]
pub struct SharedPages {
    base: NonNull<u8>,
    len: usize,
    descriptor: Arc<OwnedFd>,
    memory: u64,
    /// The [fork generation](forks) of the process that made it, if it was this one.
    made_in: Option<u32>,
    pub(super) register: Mutex<Register>,
}

// SAFETY: the mapping belongs to the process, not to a thread; the register and locks order the access (3).
unsafe impl Send for SharedPages {}
// SAFETY: as above.
unsafe impl Sync for SharedPages {}

impl SharedPages {
    /// Maps `len` bytes, which this process made if `made_in` is its fork generation.
    ///
    /// # Safety
    /// The memory has them and cannot shrink (2), and this process does not map it yet.
    pub(super) unsafe fn map(
        descriptor: OwnedFd,
        len: usize,
        made_in: Option<u32>,
    ) -> io::Result<Self> {
        let base = match NonZeroUsize::new(len) {
            // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
            Some(length) => unsafe { Self::map_shared(length, &descriptor) }?,
            None => NonNull::<u64>::dangling().cast(),
        };
        let memory = inode(&descriptor)?;
        Ok(Self {
            base,
            len,
            descriptor: Arc::new(descriptor),
            memory,
            made_in,
            register: Mutex::default(),
        })
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

    /// True if this process made the memory, and not its parent before a fork(2).
    pub(super) fn is_made_here(&self) -> bool {
        self.made_in == Some(forks())
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
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }

    /// Prefers memory of NUMA node `node` for what is not allocated yet; mbind(2), MPOL_PREFERRED.
    pub(super) fn prefer_node(&self, node: u32) -> io::Result<()> {
        const MPOL_PREFERRED: libc::c_long = 1;
        let mask = 1_u64.checked_shl(node).ok_or(io::ErrorKind::InvalidInput)?;
        let bits = u64::BITS as usize;
        // SAFETY: the range is ours (1); the kernel reads one word of the mask.
        let result = unsafe {
            libc::syscall(
                libc::SYS_mbind,
                self.base,
                self.len,
                MPOL_PREFERRED,
                &raw const mask,
                bits,
                0,
            )
        };
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
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
    #[expect(clippy::mut_from_ref, reason = "the range is what is borrowed mutably")]
    pub(super) unsafe fn bytes_mut(&self, range: &Range<usize>) -> &mut [u8] {
        // SAFETY: invariants 1 and 2; nobody else touches them, says the caller.
        unsafe { std::slice::from_raw_parts_mut(self.pointer(range).as_ptr(), range.len()) }
    }
}

impl Drop for SharedPages {
    fn drop(&mut self) {
        if self.len > 0 {
            // SAFETY: the range is ours (1), and no borrow outlives `self`. It cannot fail for such a range.
            let _ = unsafe { munmap(self.base.cast(), self.len) };
        }
    }
}
