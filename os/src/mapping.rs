//! Memory mapped from descriptors that cannot shrink. See mmap(2) and fcntl(2), file sealing.

use std::io;
use std::num::NonZeroUsize;
use std::ops::Deref;
use std::os::fd::AsFd;

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::mman::{MapFlags, ProtFlags};

mod def {
    use super::{AsFd, MapFlags, NonZeroUsize, ProtFlags, io};
    use nix::sys::mman::{mmap, munmap};
    use std::ffi::c_void;
    use std::ptr::NonNull;

    /// A mapping of our own.
    ///
    /// # Invariants
    /// 1. `ptr` points to `len` bytes that are mapped, readable, until `self` is dropped.
    /// 2. The object behind them cannot shrink, so that no access faults.
    /// 3. If `writable`, they are mapped for writing too, and no other mapping in this process hands out references.
    #[derive(Debug)]
    pub(super) struct Mapping {
        ptr: NonNull<c_void>,
        len: usize,
        writable: bool,
    }

    // SAFETY: the mapping belongs to the process, not to a thread; shared access only reads (3).
    unsafe impl Send for Mapping {}
    // SAFETY: as above.
    unsafe impl Sync for Mapping {}

    impl Mapping {
        /// Maps `len` bytes of `file`.
        ///
        /// # Safety
        /// The file has at least `len` bytes and can never have fewer. If `writable`, nothing else in this process
        /// maps it.
        pub(super) unsafe fn new(file: impl AsFd, len: usize, writable: bool) -> io::Result<Self> {
            let Some(length) = NonZeroUsize::new(len) else {
                return Ok(Self {
                    ptr: NonNull::dangling(),
                    len: 0,
                    writable,
                });
            };
            let protection = if writable {
                ProtFlags::PROT_READ | ProtFlags::PROT_WRITE
            } else {
                ProtFlags::PROT_READ
            };
            // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
            let ptr = unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED, file, 0) }?;
            Ok(Self { ptr, len, writable })
        }

        pub(super) fn as_slice(&self) -> &[u8] {
            // SAFETY: invariants 1 and 2.
            unsafe { std::slice::from_raw_parts(self.ptr.as_ptr().cast(), self.len) }
        }

        pub(super) fn as_mut_slice(&mut self) -> &mut [u8] {
            assert!(
                self.writable,
                "only writable mappings are borrowed for writing"
            );
            // SAFETY: invariants 1 to 3; the borrow is exclusive.
            unsafe { std::slice::from_raw_parts_mut(self.ptr.as_ptr().cast(), self.len) }
        }

        /// Asks the kernel to map every page now: madvise(2), MADV_POPULATE_WRITE (Linux 5.14).
        pub(super) fn populate(&self) -> io::Result<()> {
            let advice = if self.writable {
                libc::MADV_POPULATE_WRITE
            } else {
                libc::MADV_POPULATE_READ
            };
            if self.len == 0 {
                return Ok(());
            }
            // SAFETY: populating changes no byte, and the range is ours (1).
            let result = unsafe { libc::madvise(self.ptr.as_ptr(), self.len, advice) };
            if result == 0 {
                Ok(())
            } else {
                Err(io::Error::last_os_error())
            }
        }
    }

    impl Drop for Mapping {
        fn drop(&mut self) {
            if self.len > 0 {
                // SAFETY: the range is ours (1), and no borrow outlives `self`. It cannot fail for such a range.
                let _ = unsafe { munmap(self.ptr, self.len) };
            }
        }
    }
}

use def::Mapping;

/// A read-only view of memory that is sealed against writing, growing and shrinking: its bytes never change.
#[derive(Debug)]
pub struct SealedMapping(Mapping);

/// A read-only view of memory that cannot shrink, and that only its maker can write, which it does only while we hold
/// no message in it.
///
/// The kernel enforces that no access faults. That the bytes stay still is the peer's promise: see [`Self::new`].
#[derive(Debug)]
pub struct PeerMapping(Mapping);

/// A read-only view of a file that the kernel lets nobody change or truncate.
#[derive(Debug)]
pub struct FileMapping(Mapping);

/// Our own memory, mapped for writing, whose descriptor others may map for reading.
#[derive(Debug)]
pub struct SharedMapping(Mapping);

const FUTURE_WRITE: SealFlag = SealFlag::from_bits_retain(libc::F_SEAL_FUTURE_WRITE);
/// The seals that keep memory from changing its size; fcntl(2).
pub const NO_RESIZE: SealFlag = SealFlag::F_SEAL_SHRINK.union(SealFlag::F_SEAL_GROW);

impl SealedMapping {
    /// Maps a memory descriptor whole.
    ///
    /// # Errors
    /// [`io::ErrorKind::PermissionDenied`] if it lacks one of the seals SHRINK, GROW and WRITE, or cannot have any
    /// (a file, a pipe); else what mmap(2) says.
    pub fn new(memory: impl AsFd) -> io::Result<Self> {
        let len = sealed_len(memory.as_fd(), NO_RESIZE | SealFlag::F_SEAL_WRITE)?;
        // SAFETY: the seals were just checked, and a seal is never taken off.
        unsafe { Mapping::new(memory, len, false) }.map(Self)
    }
}

impl PeerMapping {
    /// Maps a memory descriptor that a peer sent.
    ///
    /// Give it only descriptors of peers that run as this process's own user. Such a peer can write our memory
    /// anyway (ptrace(2)), so its promise not to write what we still read is all that can be had; from anybody else
    /// copy, or demand a [`SealedMapping`].
    ///
    /// # Errors
    /// [`io::ErrorKind::PermissionDenied`] if it lacks one of the seals SHRINK, GROW and FUTURE_WRITE (or WRITE), or
    /// has pages that nobody has allocated.
    pub fn new(memory: impl AsFd) -> io::Result<Self> {
        // FUTURE_WRITE also forbids to punch holes into it.
        let held = sealed_len(memory.as_fd(), NO_RESIZE | FUTURE_WRITE);
        let len =
            held.or_else(|_| sealed_len(memory.as_fd(), NO_RESIZE | SealFlag::F_SEAL_WRITE))?;
        // SAFETY: the seals were just checked, and a seal is never taken off.
        unsafe { Mapping::new(memory, len, false) }.map(Self)
    }

    /// Maps every page now instead of at its first touch.
    ///
    /// # Errors
    /// What madvise(2) says, [`io::ErrorKind::OutOfMemory`] instead of a fault.
    pub fn populate(&self) -> io::Result<()> {
        self.0.populate()
    }
}

impl FileMapping {
    /// Maps a file that cannot change: sealed memory, or a file with the immutable attribute or fs-verity.
    ///
    /// # Errors
    /// [`io::ErrorKind::PermissionDenied`] if somebody could truncate it: a read would then be a SIGBUS.
    pub fn new(file: impl AsFd) -> io::Result<Self> {
        if let Ok(len) = sealed_len(file.as_fd(), NO_RESIZE | SealFlag::F_SEAL_WRITE) {
            // SAFETY: the seals were just checked, and a seal is never taken off.
            return unsafe { Mapping::new(file, len, false) }.map(Self);
        }
        if !crate::file::is_immutable(file.as_fd())? {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "the file can be truncated",
            ));
        }
        let len = file_len(file.as_fd())?;
        // SAFETY: the kernel refuses to write or truncate an immutable file. Only a privileged user can take the
        // attribute off, who could as well write our memory.
        unsafe { Mapping::new(file, len, false) }.map(Self)
    }
}

impl SharedMapping {
    /// Maps memory that was just made, is sealed against resizing and is mapped nowhere else.
    pub(crate) fn of_new(memory: impl AsFd, len: usize) -> io::Result<Self> {
        let sealed = sealed_len(memory.as_fd(), NO_RESIZE)?;
        assert!(
            len <= sealed,
            "a mapping of {len} bytes over memory of {sealed}"
        );
        // SAFETY: the seals were just checked; the caller made the memory and maps it once.
        unsafe { Mapping::new(memory, len, true) }.map(Self)
    }

    /// The bytes, for writing.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        self.0.as_mut_slice()
    }

    /// Maps every page now instead of at its first touch.
    ///
    /// # Errors
    /// What madvise(2) says, [`io::ErrorKind::OutOfMemory`] instead of a fault.
    pub fn populate(&self) -> io::Result<()> {
        self.0.populate()
    }
}

macro_rules! slices {
    ($($name:ident),*) => {
        $(impl Deref for $name {
            type Target = [u8];

            fn deref(&self) -> &[u8] {
                self.0.as_slice()
            }
        }

        impl AsRef<[u8]> for $name {
            fn as_ref(&self) -> &[u8] {
                self
            }
        })*
    };
}

slices!(SealedMapping, PeerMapping, FileMapping, SharedMapping);

/// True if the memory is sealed against every write and every change of size.
pub fn is_sealed(memory: impl AsFd) -> bool {
    sealed_len(memory, NO_RESIZE | SealFlag::F_SEAL_WRITE).is_ok()
}

/// The length of memory that has all seals in `wanted`, and whose every page is allocated.
///
/// # Errors
/// [`io::ErrorKind::PermissionDenied`] if it lacks a seal, cannot have any (a file, a pipe), or has holes.
pub fn sealed_len(memory: impl AsFd, wanted: SealFlag) -> io::Result<usize> {
    let refused = |what| io::Error::new(io::ErrorKind::PermissionDenied, what);
    // EINVAL for everything that is not a memory descriptor: files, pipes, devices.
    let seals = fcntl(memory.as_fd(), FcntlArg::F_GET_SEALS)
        .map_err(|_| refused("the descriptor is not sealable memory, so it could shrink"))?;
    if !SealFlag::from_bits_retain(seals).contains(wanted) {
        return Err(refused(
            "the memory lacks the seals that keep it from shrinking or changing",
        ));
    }
    let status = nix::sys::stat::fstat(&memory)?;
    // The first touch of a page that was never allocated takes memory, and is a SIGBUS if there is none.
    if status.st_blocks.saturating_mul(512) < status.st_size {
        return Err(refused(
            "the memory has holes, which would be allocated by reading them",
        ));
    }
    file_len(memory)
}

fn file_len(file: impl AsFd) -> io::Result<usize> {
    let len = nix::sys::stat::fstat(file)?.st_size;
    usize::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))
}

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
        denied(PeerMapping::new(&unsealed).map(drop));
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        denied(PeerMapping::new(&file).map(drop));
        denied(FileMapping::new(&file).map(drop));
        let (pipe, _end) = nix::unistd::pipe().unwrap();
        denied(SealedMapping::new(&pipe).map(drop));
        let held = Memfd::new(100).unwrap();
        denied(SealedMapping::new(held.descriptor()).map(drop));
    }

    #[test]
    fn memory_with_holes_is_refused() {
        use nix::sys::memfd::{MFdFlags, memfd_create};
        let sparse = memfd_create(c"t", MFdFlags::MFD_ALLOW_SEALING).unwrap();
        nix::unistd::ftruncate(&sparse, 1 << 40).unwrap();
        fcntl(
            &sparse,
            FcntlArg::F_ADD_SEALS(NO_RESIZE | FUTURE_WRITE | SealFlag::F_SEAL_WRITE),
        )
        .unwrap();
        assert_eq!(
            PeerMapping::new(&sparse).unwrap_err().kind(),
            io::ErrorKind::PermissionDenied
        );
        assert_eq!(
            SealedMapping::new(&sparse).unwrap_err().kind(),
            io::ErrorKind::PermissionDenied
        );
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
    fn a_peer_sees_what_the_owner_writes() {
        let mut memory = Memfd::new(10).unwrap();
        memory.forbid_new_writers().unwrap();
        let peer = PeerMapping::new(memory.descriptor()).unwrap();
        memory.as_mut_slice().fill(7);
        assert_eq!(&peer[..10], [7; 10]);
    }
}
