//! Seals, which keep memory behind a descriptor from changing;
//! [fcntl(2)](https://man7.org/linux/man-pages/man2/fcntl.2.html), file sealing.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::unistd::Whence;

use crate::failpoint::failpoint;
use crate::retry::retry;

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
    let len = file_len(memory.as_fd())?;
    // The first touch of a page that was never allocated takes memory, and is a SIGBUS if there is none.
    if has_holes(memory.as_fd(), len)? {
        return Err(refused(
            "the memory has holes, which would be allocated by reading them",
        ));
    }
    Ok(len)
}

/// True if a page of memory of `len` bytes, sealed against changes of size, is not allocated. For a descriptor that is not
/// open for writing also if a page was never written.
fn has_holes(memory: BorrowedFd<'_>, len: usize) -> io::Result<bool> {
    let end = i64::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    // Pages past the end count as blocks too (FALLOC_FL_KEEP_SIZE of fallocate(2)), and would make up for holes. To set the
    // length to what it is frees them, and the seals let nobody make new ones.
    failpoint("ftruncate")?;
    match retry(|| Ok(nix::unistd::ftruncate(memory, end)?)) {
        Ok(()) => {
            failpoint("fstat")?;
            let status = nix::sys::stat::fstat(memory)?;
            Ok(status.st_blocks.saturating_mul(512) < end)
        }
        // Not open for writing. Blocks that are allocated and not yet written look like holes here.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            failpoint("lseek")?;
            let at = nix::unistd::lseek(memory, 0, Whence::SeekCur)?;
            // ENXIO: there is no byte to begin from.
            let hole = nix::unistd::lseek(memory, 0, Whence::SeekHole).unwrap_or(0);
            // Its owner reads on where it was.
            nix::unistd::lseek(memory, at, Whence::SeekSet)?;
            Ok(hole < end)
        }
        Err(error) => Err(error),
    }
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

    /// Memory of 64 pages of which `from` on are allocated, and as many more past its end.
    fn pages_past_the_end(from: i64) -> std::os::fd::OwnedFd {
        use nix::fcntl::{FallocateFlags, fallocate};
        use nix::sys::memfd::{MFdFlags, memfd_create};
        const LEN: i64 = 64 * 4096;
        let memory = memfd_create(c"t", MFdFlags::MFD_ALLOW_SEALING).unwrap();
        nix::unistd::ftruncate(&memory, LEN).unwrap();
        fallocate(&memory, FallocateFlags::empty(), from, LEN - from).unwrap();
        fallocate(&memory, FallocateFlags::FALLOC_FL_KEEP_SIZE, LEN, LEN).unwrap();
        add_seals(&memory, NO_RESIZE | FUTURE_WRITE | SealFlag::F_SEAL_WRITE).unwrap();
        memory
    }

    #[test]
    fn pages_past_the_end_make_up_for_no_hole() {
        let holes = pages_past_the_end(32 * 4096);
        assert!(nix::sys::stat::fstat(&holes).unwrap().st_blocks * 512 > 64 * 4096);
        let error = lent_len(&holes).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        assert!(!is_sealed(&holes));
        assert!(is_sealed(pages_past_the_end(0)), "they do no harm either");
    }

    #[test]
    fn holes_are_found_through_a_descriptor_for_reading() {
        let reading = |memory: std::os::fd::OwnedFd| {
            use std::os::fd::AsRawFd;
            std::fs::File::open(format!("/proc/self/fd/{}", memory.as_raw_fd())).unwrap()
        };
        assert!(!is_sealed(reading(pages_past_the_end(32 * 4096))));
        let mut whole = crate::Memfd::new(8192).unwrap();
        whole.as_mut_slice().fill(1);
        let (whole, _mapping) = whole.seal().unwrap();
        assert!(is_sealed(reading(
            std::sync::Arc::into_inner(whole).unwrap()
        )));
        let nothing = crate::Memfd::new(0).unwrap().seal().unwrap().0;
        assert!(is_sealed(reading(
            std::sync::Arc::into_inner(nothing).unwrap()
        )));
    }
}
