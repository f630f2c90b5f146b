use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use nix::fcntl::{FallocateFlags, SealFlag, fallocate};
use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::mapping::{SealedMapping, SharedMapping};
use crate::process::available_memory;
use crate::seal::{FUTURE_WRITE, NO_RESIZE, add_seals};

/// Anonymous memory behind a descriptor (memfd_create(2)), sealed against changes of size from its birth.
///
/// Every page is allocated when it is made: the first touch of a page that tmpfs cannot provide is a SIGBUS, an
/// allocation that fails is an error.
#[derive(Debug)]
pub struct Memfd {
    descriptor: Arc<OwnedFd>,
    mapping: SharedMapping,
}

impl Memfd {
    /// Makes `len` bytes of zeros.
    ///
    /// # Errors
    /// [`io::ErrorKind::StorageFull`] or [`io::ErrorKind::OutOfMemory`] if they cannot be had, and what
    /// memfd_create(2) says (EMFILE when out of descriptors).
    pub fn new(len: usize) -> io::Result<Self> {
        let descriptor = allocate(len, "numpush")?;
        let mapping = SharedMapping::of_new(&descriptor, len)?;
        Ok(Self {
            descriptor: Arc::new(descriptor),
            mapping,
        })
    }

    /// The descriptor; who holds it can read the memory, now and later.
    pub fn descriptor(&self) -> &Arc<OwnedFd> {
        &self.descriptor
    }

    /// The bytes, for writing.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        self.mapping.as_mut_slice()
    }

    /// Bytes of the memory.
    pub fn len(&self) -> usize {
        self.mapping.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.mapping.is_empty()
    }

    /// Maps every page now instead of at its first touch.
    ///
    /// # Errors
    /// What madvise(2) says.
    pub fn populate(&self) -> io::Result<()> {
        self.mapping.populate()
    }

    /// Lets nobody map the memory for writing from now on, who has it not mapped so already.
    ///
    /// # Errors
    /// What fcntl(2) says.
    pub fn forbid_new_writers(&self) -> io::Result<()> {
        add_seals(&*self.descriptor, FUTURE_WRITE)
    }

    /// Ends all writing, for everybody and for good.
    ///
    /// # Errors
    /// EBUSY if somebody else still maps the memory for writing; what mmap(2) says.
    pub fn seal(self) -> io::Result<(Arc<OwnedFd>, SealedMapping)> {
        let Self {
            descriptor,
            mapping,
        } = self;
        // The kernel refuses the seal while a writable mapping exists, ours included.
        drop(mapping);
        add_seals(&descriptor, SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SEAL)?;
        let mapping = SealedMapping::new(&descriptor)?;
        Ok((descriptor, mapping))
    }
}

/// Makes `len` bytes of zeros behind a descriptor, with every page allocated, sealed against changes of size;
/// memfd_create(2), fallocate(2). `name` shows in /proc only.
///
/// # Errors
/// [`io::ErrorKind::StorageFull`] or [`io::ErrorKind::OutOfMemory`] if they cannot be had, and what
/// memfd_create(2) reports.
pub fn allocate(len: usize, name: &str) -> io::Result<OwnedFd> {
    let descriptor = memfd_create(name, MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?;
    let size = size_to_allocate(len)?;
    if size > 0 {
        fallocate(&descriptor, FallocateFlags::empty(), 0, size)?;
    }
    add_seals(&descriptor, NO_RESIZE)?;
    Ok(descriptor)
}

/// `len` as the kernel wants it, if there is so much memory to be had.
///
/// fallocate takes pages one by one until the machine has none left, and then the OOM killer comes, not an error.
///
/// # Errors
/// [`io::ErrorKind::OutOfMemory`] if fewer bytes are available; [`io::ErrorKind::InvalidInput`] if no file is so long.
pub fn size_to_allocate(len: usize) -> io::Result<i64> {
    if len as u64 > available_memory().unwrap_or(u64::MAX) {
        return Err(io::ErrorKind::OutOfMemory.into());
    }
    i64::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_cannot_be_had_is_an_error() {
        let error = Memfd::new(1 << 50).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::OutOfMemory);
    }

    #[test]
    fn nobody_resizes_memory() {
        let memory = Memfd::new(8192).unwrap();
        assert_eq!(
            nix::unistd::ftruncate(memory.descriptor(), 0),
            Err(nix::errno::Errno::EPERM)
        );
        assert_eq!(
            nix::unistd::ftruncate(memory.descriptor(), 1 << 20),
            Err(nix::errno::Errno::EPERM)
        );
    }
}
