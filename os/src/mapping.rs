//! Memory mapped from descriptors that cannot shrink; [mmap(2)](https://man7.org/linux/man-pages/man2/mmap.2.html).
//!
//! [`memmap2`] makes the mappings. Each type here is one reason why its bytes may be borrowed as a slice.

use std::io;
use std::ops::Deref;
use std::os::fd::AsFd;

use memmap2::{Mmap, MmapOptions};
use nix::fcntl::SealFlag;

use crate::failpoint::failpoint;
use crate::seal::{NO_RESIZE, file_len, sealed_len};

/// A read-only view of memory that is sealed against writing, growing and shrinking: its bytes never change.
#[derive(Debug)]
pub struct SealedMapping(Mmap);

/// A read-only view of a file that the kernel lets nobody change or truncate.
#[derive(Debug)]
pub struct FileMapping(Mmap);

impl SealedMapping {
    /// Maps a memory descriptor whole.
    ///
    /// # Errors
    /// [`io::ErrorKind::PermissionDenied`] if it lacks one of the seals SHRINK, GROW and WRITE, or cannot have any
    /// (a file, a pipe); else what mmap(2) reports.
    pub fn new(memory: impl AsFd) -> io::Result<Self> {
        let len = sealed_len(memory.as_fd(), NO_RESIZE | SealFlag::F_SEAL_WRITE)?;
        failpoint("mmap")?;
        // SAFETY: the seals were just checked, and a seal is never taken off: the bytes neither go nor change.
        unsafe { MmapOptions::new().len(len).map(&memory.as_fd()) }.map(Self)
    }
}

impl FileMapping {
    /// Maps a file that cannot change: sealed memory, or a file with the immutable attribute or fs-verity.
    ///
    /// # Errors
    /// [`io::ErrorKind::PermissionDenied`] if somebody could truncate it: a read would then be a SIGBUS. Else what mmap(2)
    /// reports.
    pub fn new(file: impl AsFd) -> io::Result<Self> {
        let file = file.as_fd();
        if let Ok(SealedMapping(mapping)) = SealedMapping::new(file) {
            return Ok(Self(mapping));
        }
        if !crate::file::is_immutable(file)? {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "the file can be truncated",
            ));
        }
        let len = file_len(file)?;
        failpoint("mmap")?;
        // SAFETY: the kernel refuses to write or truncate an immutable file. Only a privileged user can take the
        // attribute off, who could as well write the memory of this process.
        unsafe { MmapOptions::new().len(len).map(&file) }.map(Self)
    }
}

macro_rules! slices {
    ($($name:ident.$field:tt),*) => {
        $(impl Deref for $name {
            type Target = [u8];

            fn deref(&self) -> &[u8] {
                &self.$field
            }
        }

        impl AsRef<[u8]> for $name {
            fn as_ref(&self) -> &[u8] {
                self
            }
        })*
    };
}

slices!(SealedMapping.0, FileMapping.0);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Memfd;

    #[test]
    fn unsealed_memory_and_files_are_refused() {
        let denied = |result: io::Result<()>| {
            assert_eq!(result.unwrap_err().kind(), io::ErrorKind::PermissionDenied)
        };
        let unsealed =
            nix::sys::memfd::memfd_create(c"t", nix::sys::memfd::MFdFlags::MFD_ALLOW_SEALING)
                .unwrap();
        denied(SealedMapping::new(&unsealed).map(drop));
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        denied(SealedMapping::new(&file).map(drop));
        denied(FileMapping::new(&file).map(drop));
        let (pipe, _end) = nix::unistd::pipe().unwrap();
        denied(SealedMapping::new(&pipe).map(drop));
        let lent = Memfd::new(100).unwrap().lend().unwrap();
        denied(SealedMapping::new(lent.descriptor()).map(drop));
    }

    #[test]
    fn sealed_memory_cannot_change_any_more() {
        let mut memory = Memfd::new(4096).unwrap();
        memory.as_mut_slice()[..3].copy_from_slice(b"abc");
        let (descriptor, mapping) = memory.seal().unwrap();
        assert_eq!(&mapping[..3], b"abc");
        assert!(nix::unistd::ftruncate(&*descriptor, 0).is_err());
        assert!(nix::unistd::write(&*descriptor, b"x").is_err());
    }

    #[test]
    fn no_bytes_are_a_mapping_too() {
        let memory = Memfd::new(0).unwrap();
        let (descriptor, mapping) = memory.seal().unwrap();
        assert!(mapping.is_empty());
        assert!(SealedMapping::new(&*descriptor).unwrap().is_empty());
    }
}
