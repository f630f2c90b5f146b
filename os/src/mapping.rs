//! Memory mapped from descriptors that cannot shrink; [mmap(2)](https://man7.org/linux/man-pages/man2/mmap.2.html).
//!
//! [`memmap2`] makes the mappings. Each type here is one reason why its bytes may be borrowed as a slice.

use std::collections::BTreeSet;
use std::io;
use std::ops::Deref;
use std::os::fd::AsFd;
use std::sync::Mutex;

use memmap2::{Advice, Mmap, MmapMut, MmapOptions};
use nix::fcntl::SealFlag;

use crate::credentials::SameUser;
use crate::identity::FileId;
use crate::seal::{NO_RESIZE, file_len, lent_len, sealed_len};
use crate::sync::lock;

/// A read-only view of memory that is sealed against writing, growing and shrinking: its bytes never change.
#[derive(Debug)]
pub struct SealedMapping(Mmap);

/// A read-only view of memory that cannot shrink and that only its maker, a process of the same user, can write.
///
/// The kernel ensures that no access faults. That the bytes stay still while they are borrowed is the peer's promise: see
/// [`Self::new`].
#[derive(Debug)]
pub struct PeerMapping(Mmap);

/// A read-only view of a file that the kernel lets nobody change or truncate.
#[derive(Debug)]
pub struct FileMapping(Mmap);

/// Memory of this process, mapped for writing, whose descriptor others may map for reading.
#[derive(Debug)]
pub struct SharedMapping {
    mapping: MmapMut,
    id: FileId,
}

impl SealedMapping {
    /// Maps a memory descriptor whole.
    ///
    /// # Errors
    /// [`io::ErrorKind::PermissionDenied`] if it lacks one of the seals SHRINK, GROW and WRITE, or cannot have any
    /// (a file, a pipe); else what mmap(2) reports.
    pub fn new(memory: impl AsFd) -> io::Result<Self> {
        let len = sealed_len(memory.as_fd(), NO_RESIZE | SealFlag::F_SEAL_WRITE)?;
        // SAFETY: the seals were just checked, and a seal is never taken off: the bytes neither go nor change.
        unsafe { MmapOptions::new().len(len).map(&memory.as_fd()) }.map(Self)
    }
}

impl PeerMapping {
    /// Maps a memory descriptor that a peer sent.
    ///
    /// `_peer` is the proof that the sender runs as the user of this process. Such a peer can write the memory of this
    /// process anyway, so its promise not to write what is borrowed here is all that can be had. From any other peer copy
    /// the bytes, or demand a [`SealedMapping`].
    ///
    /// # Errors
    /// [`io::ErrorKind::PermissionDenied`] if it lacks one of the seals SHRINK, GROW and FUTURE_WRITE (or WRITE), or
    /// has pages that nobody has allocated; else what mmap(2) reports.
    pub fn new(memory: impl AsFd, _peer: &SameUser) -> io::Result<Self> {
        let len = lent_len(memory.as_fd())?;
        // SAFETY: the seals were just checked, and a seal is never taken off: the bytes do not go. Only the peer can change
        // them, which may write any memory of this process.
        unsafe { MmapOptions::new().len(len).map(&memory.as_fd()) }.map(Self)
    }

    /// Maps every page now instead of at its first touch;
    /// [madvise(2)](https://man7.org/linux/man-pages/man2/madvise.2.html), MADV_POPULATE_READ (Linux 5.14).
    ///
    /// # Errors
    /// What madvise(2) reports, [`io::ErrorKind::OutOfMemory`] instead of a fault.
    pub fn populate(&self) -> io::Result<()> {
        self.0.advise(Advice::PopulateRead)
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
        // SAFETY: the kernel refuses to write or truncate an immutable file. Only a privileged user can take the
        // attribute off, who could as well write the memory of this process.
        unsafe { MmapOptions::new().len(len).map(&file) }.map(Self)
    }
}

/// The memory that a [`SharedMapping`] of this process lends for writing.
static WRITABLE: Mutex<BTreeSet<FileId>> = Mutex::new(BTreeSet::new());

impl SharedMapping {
    /// Maps memory that was just made, is sealed against resizing and is mapped nowhere else.
    pub(crate) fn of_new(memory: impl AsFd, len: usize) -> io::Result<Self> {
        let sealed = sealed_len(memory.as_fd(), NO_RESIZE)?;
        assert!(
            len <= sealed,
            "a mapping of {len} bytes over memory of {sealed}"
        );
        let id = FileId::of(&memory)?;
        // SAFETY: the seals were just checked; the caller made the memory and maps it once, and `WRITABLE` keeps this
        // process from mapping it for writing again.
        let mapping = unsafe { MmapOptions::new().len(len).map_mut(&memory.as_fd()) }?;
        lock(&WRITABLE).insert(id);
        Ok(Self { mapping, id })
    }

    /// The bytes, to write.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.mapping
    }

    /// Maps every page now instead of at its first touch;
    /// [madvise(2)](https://man7.org/linux/man-pages/man2/madvise.2.html), MADV_POPULATE_WRITE (Linux 5.14).
    ///
    /// # Errors
    /// What madvise(2) reports, [`io::ErrorKind::OutOfMemory`] instead of a fault.
    pub fn populate(&self) -> io::Result<()> {
        self.mapping.advise(Advice::PopulateWrite)
    }
}

impl Drop for SharedMapping {
    fn drop(&mut self) {
        lock(&WRITABLE).remove(&self.id);
    }
}

/// True if a [`Memfd`](crate::Memfd) of this process lends the bytes of this memory for writing. Nothing else in the process
/// may then write them.
pub fn is_lent_for_writing(memory: FileId) -> bool {
    lock(&WRITABLE).contains(&memory)
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

slices!(
    SealedMapping.0,
    PeerMapping.0,
    FileMapping.0,
    SharedMapping.mapping
);

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::{Memfd, peer_credentials};

    fn same_user() -> SameUser {
        let (one, _other) = UnixStream::pair().unwrap();
        peer_credentials(&one).unwrap().same_user().unwrap()
    }

    #[test]
    fn unsealed_memory_and_files_are_refused() {
        let denied = |result: io::Result<()>| {
            assert_eq!(result.unwrap_err().kind(), io::ErrorKind::PermissionDenied)
        };
        let unsealed =
            nix::sys::memfd::memfd_create(c"t", nix::sys::memfd::MFdFlags::MFD_ALLOW_SEALING)
                .unwrap();
        denied(PeerMapping::new(&unsealed, &same_user()).map(drop));
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        denied(PeerMapping::new(&file, &same_user()).map(drop));
        denied(FileMapping::new(&file).map(drop));
        let (pipe, _end) = nix::unistd::pipe().unwrap();
        denied(SealedMapping::new(&pipe).map(drop));
        let held = Memfd::new(100).unwrap();
        denied(SealedMapping::new(held.descriptor()).map(drop));
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
    fn a_peer_sees_what_the_owner_wrote() {
        let mut memory = Memfd::new(10).unwrap();
        memory.forbid_new_writers().unwrap();
        memory.as_mut_slice().fill(7);
        let peer = PeerMapping::new(memory.descriptor(), &same_user()).unwrap();
        peer.populate().unwrap();
        assert_eq!(&peer[..10], [7; 10]);
    }

    #[test]
    fn memory_is_lent_for_writing_until_it_is_dropped_or_sealed() {
        let memory = Memfd::new(10).unwrap();
        let id = FileId::of(memory.descriptor()).unwrap();
        assert!(is_lent_for_writing(id));
        let (_descriptor, _mapping) = memory.seal().unwrap();
        assert!(!is_lent_for_writing(id));
    }

    #[test]
    fn no_bytes_are_a_mapping_too() {
        let memory = Memfd::new(0).unwrap();
        memory.populate().unwrap();
        let (descriptor, mapping) = memory.seal().unwrap();
        assert!(mapping.is_empty());
        assert!(SealedMapping::new(&*descriptor).unwrap().is_empty());
    }
}
