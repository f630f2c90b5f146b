//! Seals, which keep memory behind a descriptor from changing;
//! [fcntl(2)](https://man7.org/linux/man-pages/man2/fcntl.2.html), file sealing.

use std::io;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};

use crate::failpoint::failpoint;

/// The seals that keep memory from changing its size.
pub const NO_RESIZE: SealFlag = SealFlag::F_SEAL_SHRINK.union(SealFlag::F_SEAL_GROW);
/// The seal that lets nobody map or write the memory anew; those who map it for writing already go on.
pub(crate) const FUTURE_WRITE: SealFlag = SealFlag::from_bits_retain(libc::F_SEAL_FUTURE_WRITE);

/// Adds seals to memory. A seal is never taken off.
///
/// # Errors
/// EBUSY for a seal against writing while somebody maps the memory for writing, and what else fcntl(2) reports.
pub fn add_seals(memory: impl AsFd, seals: SealFlag) -> io::Result<()> {
    failpoint("fcntl")?;
    fcntl(memory, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(())
}

/// True if the memory is sealed against every write and every change of size.
pub fn is_sealed(memory: impl AsFd) -> bool {
    sealed_len(memory, NO_RESIZE | SealFlag::F_SEAL_WRITE).is_ok()
}

/// The length in bytes of memory that has all seals in `wanted` and whose every page is allocated.
///
/// # Errors
/// [`io::ErrorKind::PermissionDenied`] if it lacks a seal, cannot have any (a file, a pipe), or has holes; what fcntl(2)
/// and fstat(2) report.
pub fn sealed_len(memory: impl AsFd, wanted: SealFlag) -> io::Result<usize> {
    let refused = |what| io::Error::new(io::ErrorKind::PermissionDenied, what);
    // EINVAL for everything that is not a memory descriptor: files, pipes, devices.
    failpoint("fcntl")?;
    let seals = fcntl(memory.as_fd(), FcntlArg::F_GET_SEALS).map_err(|errno| match errno {
        Errno::EINVAL => refused("the descriptor is not sealable memory, so it could shrink"),
        errno => errno.into(),
    })?;
    if !SealFlag::from_bits_retain(seals).contains(wanted) {
        return Err(refused(
            "the memory lacks the seals that keep it from shrinking or changing",
        ));
    }
    failpoint("fstat")?;
    let status = nix::sys::stat::fstat(&memory)?;
    // The first touch of a page that was never allocated takes memory, and is a SIGBUS if there is none.
    if status.st_blocks.saturating_mul(512) < status.st_size {
        return Err(refused(
            "the memory has holes, which would be allocated by reading them",
        ));
    }
    file_len(memory)
}

/// The length in bytes of memory that only its maker can write, and only by mappings it has already: the seals are SHRINK,
/// GROW and FUTURE_WRITE (or WRITE).
///
/// # Errors
/// As [`sealed_len`].
pub fn lent_len(memory: impl AsFd) -> io::Result<usize> {
    // FUTURE_WRITE also forbids to punch holes into it.
    sealed_len(memory.as_fd(), NO_RESIZE | FUTURE_WRITE)
        .or_else(|_| sealed_len(memory.as_fd(), NO_RESIZE | SealFlag::F_SEAL_WRITE))
}

pub(crate) fn file_len(file: impl AsFd) -> io::Result<usize> {
    failpoint("fstat")?;
    let len = nix::sys::stat::fstat(file)?.st_size;
    usize::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_with_holes_is_refused() {
        use nix::sys::memfd::{MFdFlags, memfd_create};
        let sparse = memfd_create(c"t", MFdFlags::MFD_ALLOW_SEALING).unwrap();
        nix::unistd::ftruncate(&sparse, 1 << 40).unwrap();
        add_seals(&sparse, NO_RESIZE | FUTURE_WRITE | SealFlag::F_SEAL_WRITE).unwrap();
        assert_eq!(
            lent_len(&sparse).unwrap_err().kind(),
            io::ErrorKind::PermissionDenied
        );
        assert!(!is_sealed(&sparse));
    }
}
