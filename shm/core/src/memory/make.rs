//! How shared pages come from the kernel.

use std::io;
use std::sync::Arc;

use memmap2::Advice;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::memfd::{MFdFlags, memfd_create};
use numpush_os::{add_seals, allocate, failpoint, forks, retry, size_to_allocate, watch_forks};

use super::nodes::Binding;
use super::options::{HugePages, NodePolicy, PageOptions};
use super::{HUGE_PAGE, SEALS, SharedPages, register};

impl SharedPages {
    /// Makes `len` bytes of zeros.
    ///
    /// # Errors
    /// [`io::ErrorKind::OutOfMemory`] if they cannot be had, and what memfd_create(2) and mbind(2) report.
    pub fn new(len: usize, options: PageOptions) -> io::Result<Arc<Self>> {
        watch_forks();
        let reserved =
            options.huge == HugePages::Reserved && len > 0 && len.is_multiple_of(HUGE_PAGE);
        if reserved && let Ok(pages) = Self::shaped(len, MFdFlags::MFD_HUGETLB, options) {
            return Ok(register(pages));
        }
        let is_plain = options.huge == HugePages::System
            && options.node == NodePolicy::Local
            && !options.populate;
        if is_plain || len == 0 {
            let descriptor = allocate(len, "numpush-pages")?;
            add_seals(&descriptor, SEALS)?;
            // SAFETY: just made with `len` bytes, sealed, and mapped nowhere.
            return unsafe { Self::map(descriptor, len, Some(forks())) }.map(register);
        }
        // Pages that were set aside are not among those that are available, so only others are asked for.
        size_to_allocate(len)?;
        Self::shaped(len, MFdFlags::empty(), options).map(register)
    }

    /// Takes `len` bytes of the shape that `options` ask for, from the pages that `kind` names.
    fn shaped(len: usize, kind: MFdFlags, options: PageOptions) -> io::Result<Self> {
        let size = i64::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let mut pages = Self::sparse(len, kind, options)?;
        let populates = options.populate || options.huge != HugePages::System;
        // Populating allocates too. Like fallocate, it fails where a touch would be a signal.
        if !populates || !pages.populate()? {
            retry(|| {
                failpoint("fallocate")?;
                Ok(fallocate(
                    &**pages.descriptor(),
                    FallocateFlags::empty(),
                    0,
                    size,
                )?)
            })?;
        }
        if options.populate && !pages.populate()? {
            pages.touch();
        }
        Ok(pages)
    }

    /// Prepares `len` bytes of the shape that `options` ask for, of which no page is allocated yet.
    ///
    /// Pages are shaped when they are allocated, so the mapping and its advice come first. The kernel takes a node from
    /// the advice for every allocation, and huge pages only for those of the mapping.
    pub(super) fn sparse(len: usize, kind: MFdFlags, options: PageOptions) -> io::Result<Self> {
        let size = i64::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        failpoint("memfd_create")?;
        let descriptor = memfd_create("numpush-pages", flags | kind)?;
        retry(|| {
            failpoint("ftruncate")?;
            Ok(nix::unistd::ftruncate(&descriptor, size)?)
        })?;
        add_seals(&descriptor, SEALS)?;
        // SAFETY: just made with `len` bytes, sealed, and mapped nowhere. The callers allocate them before anybody gets
        // the mapping, or get at those only that they have allocated.
        let pages = unsafe { Self::map(descriptor, len, Some(forks())) }?;
        if let Some(binding) = Binding::of(options.node)? {
            pages.bind(&binding)?;
        }
        if options.huge != HugePages::System {
            // A kernel without them says EINVAL, and the pages are small.
            let _ = pages.advise(Advice::HugePage);
        }
        Ok(pages)
    }

    /// Maps pages now that are to be touched soon, instead of one by one; by several threads, if they are many. False if
    /// the kernel cannot (before Linux 5.14): then each page is mapped at its first touch.
    ///
    /// # Errors
    /// What [madvise(2)](https://man7.org/linux/man-pages/man2/madvise.2.html), MADV_POPULATE_WRITE, reports.
    pub fn populate(&self) -> io::Result<bool> {
        let len = self.len();
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = (len / WORTH_A_THREAD).clamp(1, processors.min(MOST_THREADS));
        let each = len.div_ceil(threads).next_multiple_of(HUGE_PAGE);
        let share = |number: usize| (number * each).min(len)..((number + 1) * each).min(len);
        std::thread::scope(|scope| {
            let start = |number| {
                let populate = move || self.populate_range(share(number));
                // Without a thread the range is left to this one.
                let thread = std::thread::Builder::new().spawn_scoped(scope, populate);
                thread.map_err(|_| number)
            };
            let others: Vec<_> = (1..threads).map(start).collect();
            let mut all = self.populate_range(share(0))?;
            for other in others {
                all &= match other {
                    Ok(thread) => thread.join().unwrap_or(Ok(false))?,
                    Err(number) => self.populate_range(share(number))?,
                };
            }
            Ok(all)
        })
    }
}

/// Bytes that take longer to populate than a thread takes to start: 10 ms.
const WORTH_A_THREAD: usize = 32 << 20;
/// More threads only wait for the memory, or for the lock of the page tree.
const MOST_THREADS: usize = 16;
