use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use memmap2::{MmapMut, MmapOptions};
use nix::fcntl::{FallocateFlags, SealFlag, fallocate};
use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::failpoint::failpoint;
use crate::loan::LentMemory;
use crate::mapping::SealedMapping;
use crate::retry::retry;
use crate::room::has_room;
use crate::seal::{NO_RESIZE, add_seals};

/// How long [`Memfd::seal`] waits for others to let go of the memory.
const SEALING: Duration = Duration::from_secs(3);

/// Anonymous memory behind a descriptor (memfd_create(2)), sealed against changes of size from its birth.
///
/// Every page is allocated when it is made: the first touch of a page that tmpfs cannot provide is a SIGBUS, an
/// allocation that fails is an error. Nobody else gets at it before it is [sealed](Self::seal) or [lent](Self::lend).
#[derive(Debug)]
pub struct Memfd {
    descriptor: OwnedFd,
    mapping: MmapMut,
}

impl Memfd {
    /// Makes `len` bytes of zeros.
    ///
    /// # Errors
    /// [`io::ErrorKind::StorageFull`] or [`io::ErrorKind::OutOfMemory`] if they cannot be had, and what
    /// memfd_create(2) says (EMFILE when out of descriptors).
    pub fn new(len: usize) -> io::Result<Self> {
        let descriptor = allocate(len, "numpush")?;
        failpoint("mmap")?;
        // SAFETY: just made with `len` bytes, sealed against resizing, and mapped nowhere else: the descriptor leaves this
        // type only after the mapping is gone (`seal`), or together with the rules of `LentMemory`.
        let mapping = unsafe { MmapOptions::new().len(len).map_mut(&descriptor) }?;
        Ok(Self {
            descriptor,
            mapping,
        })
    }

    /// The bytes, for writing.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.mapping
    }

    /// Bytes of the memory.
    pub fn len(&self) -> usize {
        self.mapping.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.mapping.is_empty()
    }

    /// Ends all writing, for everybody and for good.
    ///
    /// The kernel refuses while it holds a page itself, to move it or to write it out, and while a forked child has the
    /// mapping. Both pass, so that is tried again for 3 s.
    ///
    /// # Errors
    /// EBUSY if a forked child still maps the memory for writing after that; what mmap(2) reports.
    pub fn seal(self) -> io::Result<(Arc<OwnedFd>, SealedMapping)> {
        let Self {
            descriptor,
            mapping,
        } = self;
        // The kernel refuses the seal while a writable mapping exists, ours included.
        drop(mapping);
        let end = Instant::now() + SEALING;
        let seals = SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SEAL;
        while let Err(error) = add_seals(&descriptor, seals) {
            if error.kind() != io::ErrorKind::ResourceBusy || Instant::now() >= end {
                return Err(error);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let mapping = SealedMapping::new(&descriptor)?;
        Ok((Arc::new(descriptor), mapping))
    }

    /// Makes it memory that others may read while this process goes on to write it, in turns.
    ///
    /// # Errors
    /// What fcntl(2) reports.
    pub fn lend(self) -> io::Result<LentMemory> {
        LentMemory::new(self.descriptor, self.mapping)
    }
}

/// Makes `len` bytes of zeros behind a descriptor, with every page allocated, sealed against changes of size;
/// memfd_create(2), fallocate(2). `name` shows in /proc only.
///
/// # Errors
/// [`io::ErrorKind::StorageFull`] or [`io::ErrorKind::OutOfMemory`] if they cannot be had, and what
/// memfd_create(2) reports.
pub fn allocate(len: usize, name: &str) -> io::Result<OwnedFd> {
    let size = size_to_allocate(len)?;
    failpoint("memfd_create")?;
    let descriptor = memfd_create(name, MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?;
    if size > 0 {
        retry(|| {
            failpoint("fallocate")?;
            Ok(fallocate(&descriptor, FallocateFlags::empty(), 0, size)?)
        })?;
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
    if !has_room(len as u64) {
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
    fn memory_that_a_child_still_has_is_sealed_when_the_child_ends() {
        let memory = Memfd::new(8192).unwrap();
        // SAFETY: nobody reads or writes these bytes.
        let theirs = unsafe { MmapOptions::new().map_mut(&memory.descriptor) }.unwrap();
        let child = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            drop(theirs);
        });
        let (_descriptor, mapping) = memory.seal().unwrap();
        assert_eq!(mapping.len(), 8192);
        child.join().unwrap();
    }

    #[test]
    fn nobody_resizes_memory() {
        let memory = Memfd::new(8192).unwrap().lend().unwrap();
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
