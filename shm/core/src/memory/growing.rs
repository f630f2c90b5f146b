//! Shared pages that come one after another, while the bytes for them arrive.

use std::io;
use std::sync::Arc;

use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::memfd::MFdFlags;
use numpush_os::{failpoint, page_size, retry, size_to_allocate, watch_forks};

use super::options::{HugePages, PageOptions};
use super::{SharedPages, register};

/// Memory of a length that is known, whose pages are allocated from its start on, as they are asked for.
///
/// Nobody else gets at it before it is whole: then it is [`SharedPages`] like any other.
///
/// ```
/// use numpush_shm_core::{GrowingPages, PageOptions};
///
/// let mut growing = GrowingPages::new(1 << 30, PageOptions::default())?;
/// assert!(growing.bytes_mut().is_empty());
/// growing.grow(1 << 20)?;
/// growing.bytes_mut().fill(1);
/// assert_eq!(growing.bytes_mut().len(), 1 << 20);
/// assert!(growing.finish().is_err(), "most of it is missing");
/// # Ok::<_, std::io::Error>(())
/// ```
///
/// # Invariants
/// 1. The pages of the first `ready` bytes are allocated, and `ready` is a multiple of the page size or the length.
/// 2. `pages` is in no other value, in no register, and its descriptor has not left it.
#[derive(Debug)]
pub struct GrowingPages {
    pages: SharedPages,
    ready: usize,
    options: PageOptions,
}

impl GrowingPages {
    /// Prepares `len` bytes, and takes memory for none of them. Huge pages are asked for, never taken from those set aside.
    ///
    /// # Errors
    /// What memfd_create(2), mmap(2) and mbind(2) report.
    pub fn new(len: usize, options: PageOptions) -> io::Result<Self> {
        watch_forks();
        Ok(Self {
            pages: SharedPages::sparse(len, MFdFlags::empty(), options)?,
            ready: 0,
            options,
        })
    }

    /// Bytes of the memory when it is whole.
    pub fn len(&self) -> usize {
        self.pages.len()
    }

    /// True if it is to have none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes from the start on that are there.
    pub fn ready(&self) -> usize {
        self.ready
    }

    /// Bytes that the system has given to it; [fstat(2)](https://man7.org/linux/man-pages/man2/stat.2.html).
    ///
    /// # Errors
    /// What fstat(2) reports.
    pub fn allocated(&self) -> io::Result<u64> {
        failpoint("fstat")?;
        let status = nix::sys::stat::fstat(&**self.pages.descriptor())?;
        Ok(u64::try_from(status.st_blocks).unwrap_or(0) * 512)
    }

    /// Takes memory for the first `len` bytes, rounded up to whole pages. What is there stays.
    ///
    /// # Errors
    /// [`io::ErrorKind::OutOfMemory`] or [`io::ErrorKind::StorageFull`] if it cannot be had now; what fallocate(2) and
    /// madvise(2) report.
    pub fn grow(&mut self, len: usize) -> io::Result<()> {
        let upto = len.min(self.len()).next_multiple_of(page_size());
        let (from, upto) = (self.ready, upto.min(self.len()));
        if upto <= from {
            return Ok(());
        }
        let size = size_to_allocate(upto - from)?;
        let start = i64::try_from(from).map_err(|_| io::ErrorKind::InvalidInput)?;
        // As in `SharedPages::shaped`: populating allocates too, and only it makes huge pages.
        let populates = self.options.populate || self.options.huge != HugePages::System;
        if !populates || !self.pages.populate_range(from..upto)? {
            retry(|| {
                failpoint("fallocate")?;
                let memory = &**self.pages.descriptor();
                Ok(fallocate(memory, FallocateFlags::empty(), start, size)?)
            })?;
        }
        self.ready = upto;
        Ok(())
    }

    /// The bytes that are there, to write.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: allocated (1); nobody else has them (2), and `self` is borrowed alone.
        unsafe { self.pages.bytes_mut(&(0..self.ready)) }
    }

    /// The memory, to be shared.
    ///
    /// # Errors
    /// `self`, if some of it is not there yet.
    pub fn finish(self) -> Result<Arc<SharedPages>, Box<Self>> {
        if self.ready == self.len() {
            Ok(register(self.pages))
        } else {
            Err(Box::new(self))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn pages_come_as_they_are_asked_for_and_stay() {
        let page = page_size();
        let mut growing = GrowingPages::new(10 * page + 64, PageOptions::default()).unwrap();
        assert_eq!(growing.allocated().unwrap(), 0);
        growing.grow(1).unwrap();
        assert_eq!(growing.ready(), page);
        assert_eq!(growing.allocated().unwrap(), page as u64);
        growing.bytes_mut().fill(7);
        growing.grow(4 * page).unwrap();
        growing.grow(2 * page).unwrap();
        assert_eq!(growing.ready(), 4 * page);
        assert!(growing.bytes_mut()[..page].iter().all(|&byte| byte == 7));
        let mut growing = *growing.finish().unwrap_err();
        growing.grow(usize::MAX).unwrap();
        assert_eq!(growing.ready(), 10 * page + 64);
        let pages = growing.finish().unwrap();
        let bytes = pages.take_exclusive(0..10 * page + 64).unwrap();
        assert_eq!((bytes.as_ref()[0], bytes.as_ref()[page]), (7, 0));
    }

    #[test]
    fn it_can_be_attached_when_it_is_whole_and_not_before() {
        let mut growing = GrowingPages::new(1 << 20, PageOptions::default()).unwrap();
        growing.grow(1 << 19).unwrap();
        let sent = growing.pages.descriptor().try_clone().unwrap();
        let error = SharedPages::attach(sent).unwrap_err();
        assert_eq!(
            error.kind(),
            io::ErrorKind::PermissionDenied,
            "it has holes"
        );
        growing.grow(1 << 20).unwrap();
        let sent = growing.pages.descriptor().try_clone().unwrap();
        let pages = growing.finish().unwrap();
        assert!(Arc::ptr_eq(&SharedPages::attach(sent).unwrap(), &pages));
    }

    #[test]
    fn every_shape_grows() {
        for options in [
            PageOptions::new().populate(true),
            PageOptions::new().huge(HugePages::Advise),
            PageOptions::new().node(crate::NodePolicy::Interleave),
        ] {
            let growing = GrowingPages::new(5 << 20, options);
            // mbind(2) wants CAP_SYS_NICE in many containers.
            if let Err(error) = &growing
                && options.node != crate::NodePolicy::default()
                && matches!(
                    error.kind(),
                    io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported
                )
            {
                // Past the harness, which hides what a test prints that does not fail.
                let _ = writeln!(io::stderr(), "NOT RUN: mbind(2) is refused: {error}");
                continue;
            }
            let mut growing = growing.unwrap();
            for upto in [1 << 20, 3 << 20, 5 << 20] {
                growing.grow(upto).unwrap();
                growing.bytes_mut().fill(1);
            }
            assert_eq!(growing.finish().unwrap().len(), 5 << 20);
        }
    }

    #[test]
    fn memory_that_cannot_be_had_leaves_what_is_there() {
        let mut growing = GrowingPages::new(1 << 50, PageOptions::default());
        // Address space for a petabyte may be refused at once; then there is nothing to grow.
        if let Ok(growing) = &mut growing {
            growing.grow(4096).unwrap();
            let error = growing.grow(1 << 50).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::OutOfMemory);
            assert_eq!(growing.bytes_mut().len(), page_size());
        }
    }
}
