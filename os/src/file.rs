use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::{AtFlags, Flock, FlockArg};

use crate::failpoint::point;

mod flags {
    nix::ioctl_read!(
        /// FS_IOC_GETFLAGS of ioctl_iflags(2); the kernel writes 32 bits, although the request names a long.
        get, b'f', 1, std::ffi::c_long
    );

    pub(super) fn of(file: std::os::fd::RawFd) -> nix::Result<u32> {
        let mut flags: std::ffi::c_long = 0;
        // SAFETY: the kernel writes at most a long to `flags`.
        unsafe { get(file, &raw mut flags) }?;
        Ok(u32::try_from(flags & 0xffff_ffff).unwrap_or(0))
    }
}

/// True if the kernel lets nobody write or truncate the file: the immutable attribute, or fs-verity; ioctl_iflags(2).
///
/// # Errors
/// None: the files of a file system without attributes are not immutable.
pub fn is_immutable(file: impl AsFd) -> io::Result<bool> {
    const IMMUTABLE: u32 = 0x10;
    const VERITY: u32 = 0x0010_0000;
    match flags::of(file.as_fd().as_raw_fd()) {
        Ok(flags) => Ok(flags & (IMMUTABLE | VERITY) != 0),
        Err(_) => Ok(false),
    }
}

/// Fills `bytes` from `file` at `offset`; pread(2).
///
/// A file that was cut is an error here; in a mapping it would be a SIGBUS.
///
/// # Errors
/// [`io::ErrorKind::UnexpectedEof`] if the file ends first; what pread(2) reports.
pub fn read_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<()> {
    point("pread")?;
    file.read_exact_at(bytes, offset)
}

/// Makes a file without a name in `folder`; open(2), O_TMPFILE.
///
/// The file goes away with its last descriptor unless [`commit_file`] names it.
///
/// # Errors
/// EOPNOTSUPP on file systems without unnamed files (NFS, overlays of old kernels); what open(2) reports.
pub fn create_unnamed(folder: &Path) -> io::Result<File> {
    point("open")?;
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_TMPFILE)
        .mode(0o644)
        .open(folder)
}

/// Gives an unnamed file its name; linkat(2).
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] if there is such a name; what linkat(2) reports.
pub fn commit_file(file: &File, path: &Path) -> io::Result<()> {
    let source = format!("/proc/self/fd/{}", file.as_raw_fd());
    point("linkat")?;
    nix::unistd::linkat(
        nix::fcntl::AT_FDCWD,
        source.as_str(),
        nix::fcntl::AT_FDCWD,
        path,
        AtFlags::AT_SYMLINK_FOLLOW,
    )?;
    Ok(())
}

/// Takes the exclusive lock of an open file without waiting; flock(2).
///
/// The kernel frees the lock when the last descriptor is closed, however the process ends.
///
/// # Errors
/// [`io::ErrorKind::WouldBlock`] if somebody else holds it.
pub fn lock_exclusive(file: File) -> io::Result<Flock<File>> {
    point("flock")?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| errno.into())
}
