//! The mapping itself, and the only ways to its bytes.

use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use memmap2::{Advice, MmapOptions, MmapRaw};
use numpush_os::{FileId, ForkMutex, PAGE, failpoint, forks, is_supported, page_size};

use super::element::AtomicElement;
use super::nodes::Binding;
use super::register::Register;

/// Memory behind a descriptor, mapped for reading and writing, as other processes may map it too.
///
/// It lends no byte by itself: a [range of it](super::MemoryRange) does.
///
/// # Invariants
/// 1. `mapping` is mapped for reading and writing while `self` lives.
/// 2. The memory cannot shrink, and each of its pages is allocated, but for those that [`GrowingPages`](super::GrowingPages)
///    lends to nobody.
/// 3. References into it are only made by `bytes`, `bytes_mut` and `atomics`, whose callers have a
///    [`MemoryRange`](super::MemoryRange).
#[derive(Debug)]
pub struct SharedPages {
    mapping: MmapRaw,
    descriptor: Arc<OwnedFd>,
    id: FileId,
    /// The [fork generation](forks) of the process that made it, if it was this one.
    made_in: Option<u32>,
    pub(super) register: ForkMutex<Register>,
}

impl SharedPages {
    /// Maps `len` bytes, which this process made if `made_in` is its fork generation.
    ///
    /// # Safety
    /// The memory has them and cannot shrink (2), and nothing else in this process makes references to them (3).
    pub(super) unsafe fn map(
        descriptor: OwnedFd,
        len: usize,
        made_in: Option<u32>,
    ) -> io::Result<Self> {
        failpoint("mmap")?;
        let mapping = MmapOptions::new().len(len).map_raw(&descriptor.as_fd())?;
        Ok(Self {
            mapping,
            id: FileId::of(&descriptor)?,
            descriptor: Arc::new(descriptor),
            made_in,
            register: ForkMutex::default(),
        })
    }

    /// Bytes of the memory.
    pub fn len(&self) -> usize {
        self.mapping.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// True if this process made the memory, and not its parent before a fork(2).
    pub(super) fn is_made_here(&self) -> bool {
        self.made_in == Some(forks())
    }

    /// The descriptor; whoever gets it can read and write all of the memory.
    pub fn descriptor(&self) -> &Arc<OwnedFd> {
        &self.descriptor
    }

    /// The identity of the memory, the same in every process.
    pub fn id(&self) -> FileId {
        self.id
    }

    /// Bytes of `range` that are in memory; [mincore(2)](https://man7.org/linux/man-pages/man2/mincore.2.html).
    ///
    /// # Errors
    /// What mincore(2) reports.
    pub fn resident(&self, range: &Range<usize>) -> io::Result<usize> {
        let page = page_size();
        let (start, end) = (range.start / page * page, range.end.min(self.len()));
        if start >= end {
            return Ok(0);
        }
        let mut pages = vec![0_u8; (end - start).div_ceil(page)];
        let first = self.pointer(&(start..end)).as_ptr().cast();
        failpoint("mincore")?;
        // SAFETY: the range is mapped (1), and there is a byte for each of its pages.
        let result = unsafe { libc::mincore(first, end - start, pages.as_mut_ptr()) };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        let resident = pages.iter().filter(|&&page| page & 1 == 1).count() * page;
        Ok(resident.min(range.len()))
    }

    pub(super) fn advise(&self, advice: Advice) -> io::Result<()> {
        failpoint("madvise")?;
        self.mapping.advise(advice)
    }

    /// Maps every page of `range` now; false if the kernel cannot.
    pub(super) fn populate_range(&self, range: Range<usize>) -> io::Result<bool> {
        is_supported(|| {
            failpoint("madvise")?;
            self.mapping
                .advise_range(Advice::PopulateWrite, range.start, range.len())
        })
    }

    /// Writes one byte of each page over itself, which maps the page.
    pub(super) fn touch(&mut self) {
        for at in (0..self.len()).step_by(PAGE) {
            let byte = self.pointer(&(at..at + 1)).cast::<AtomicU8>();
            // SAFETY: inside the mapping (1), allocated (2), and borrowed by nobody: `self` is.
            unsafe { byte.as_ref() }.fetch_add(0, Ordering::Relaxed);
        }
    }

    /// Sets on which NUMA nodes pages are to lie that are not allocated yet;
    /// [mbind(2)](https://man7.org/linux/man-pages/man2/mbind.2.html).
    pub(super) fn bind(&self, binding: &Binding) -> io::Result<()> {
        failpoint("mbind")?;
        // SAFETY: the range is mapped (1); the kernel reads as many bits of the mask as it has.
        let result = unsafe {
            libc::syscall(
                libc::SYS_mbind,
                self.mapping.as_mut_ptr(),
                self.len(),
                binding.mode,
                binding.mask.as_ptr(),
                binding.bits(),
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
        assert!(range.start <= range.end && range.end <= self.len());
        // SAFETY: inside the mapping (1), by the check above.
        let pointer = unsafe { self.mapping.as_mut_ptr().add(range.start) };
        // SAFETY: no mapping begins at address zero.
        unsafe { NonNull::new_unchecked(pointer) }
    }

    /// # Safety
    /// Nobody, in no process, writes the bytes while the borrow lasts.
    pub(super) unsafe fn bytes(&self, range: &Range<usize>) -> &[u8] {
        // SAFETY: invariants 1 and 2; nobody writes, as the caller ensures.
        unsafe { std::slice::from_raw_parts(self.pointer(range).as_ptr(), range.len()) }
    }

    /// The bytes as atomics.
    ///
    /// # Panics
    /// If they do not begin at a multiple of the size of `T`.
    ///
    /// # Safety
    /// Everybody, in every process, reaches the bytes by atomics of the same size while the borrow lasts.
    pub(super) unsafe fn atomics<T: AtomicElement>(&self, range: &Range<usize>) -> &[T::Atomic] {
        let first = self.pointer(range).cast::<T::Atomic>();
        assert!(
            range.is_empty() || first.is_aligned(),
            "atomics at an odd address"
        );
        let len = range.len() / size_of::<T>();
        let first = if len == 0 { NonNull::dangling() } else { first };
        // SAFETY: invariants 1 and 2; aligned, by the check above; any bytes are an atomic (`AtomicElement`), and nobody
        // reaches them in another way, as the caller ensures.
        unsafe { std::slice::from_raw_parts(first.as_ptr(), len) }
    }

    /// # Safety
    /// Nobody else, in no process, reads or writes the bytes while the borrow lasts.
    #[expect(clippy::mut_from_ref, reason = "the range is what is borrowed mutably")]
    pub(super) unsafe fn bytes_mut(&self, range: &Range<usize>) -> &mut [u8] {
        // SAFETY: invariants 1 and 2; nobody else touches them, as the caller ensures.
        unsafe { std::slice::from_raw_parts_mut(self.pointer(range).as_ptr(), range.len()) }
    }
}

impl Drop for SharedPages {
    fn drop(&mut self) {
        if self.is_made_here() {
            super::unmapped::report(self.id);
        }
    }
}
