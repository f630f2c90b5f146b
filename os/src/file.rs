use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::ops::Deref;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::AtFlags;

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

/// Makes a file without a name in `folder`, with the permissions `mode` less those that the umask takes; open(2), O_TMPFILE.
///
/// The file goes away with its last descriptor unless [`commit_file`] names it.
///
/// # Errors
/// EOPNOTSUPP on file systems without unnamed files (NFS, overlays of old kernels); [`io::ErrorKind::Unsupported`] without
/// /proc, which [`commit_file`] needs; what open(2) reports.
pub fn create_unnamed(folder: &Path, mode: u32) -> io::Result<File> {
    point("open")?;
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_TMPFILE)
        .mode(mode)
        .open(folder)?;
    if Path::new(&name_in_proc(&file)).exists() {
        Ok(file)
    } else {
        Err(io::ErrorKind::Unsupported.into())
    }
}

fn name_in_proc(file: &File) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

/// Puts a file on the disk, bytes and length; fsync(2).
///
/// # Errors
/// What fsync(2) reports.
pub fn sync_file(file: &File) -> io::Result<()> {
    point("fsync")?;
    file.sync_all()
}

/// Gives an unnamed file its name; linkat(2).
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] if there is such a name; what linkat(2) reports.
pub fn commit_file(file: &File, path: &Path) -> io::Result<()> {
    let source = name_in_proc(file);
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

/// An open file and its lock; flock(2). The drop of the value lets go of the lock, and the end of the process does.
#[derive(Debug)]
pub struct LockedFile(File);

impl LockedFile {
    fn new(file: File, lock: Result<(), TryLockError>) -> io::Result<Self> {
        lock.map_err(io::Error::from).map(|()| Self(file))
    }
}

impl Deref for LockedFile {
    type Target = File;

    fn deref(&self) -> &File {
        &self.0
    }
}

impl Drop for LockedFile {
    fn drop(&mut self) {
        // A forked child may have the file open after this process has closed it. The kernel may have no memory to unlock
        // it: the lock goes with the last descriptor then.
        let _ = self.0.unlock();
    }
}

/// Takes the exclusive lock of an open file without waiting; flock(2).
///
/// # Errors
/// [`io::ErrorKind::WouldBlock`] if somebody else holds it or shares it; what flock(2) reports.
pub fn lock_exclusive(file: File) -> io::Result<LockedFile> {
    point("flock")?;
    let lock = file.try_lock();
    LockedFile::new(file, lock)
}

/// Takes a share in the lock of an open file without waiting; flock(2).
///
/// # Errors
/// [`io::ErrorKind::WouldBlock`] if somebody holds it alone; what flock(2) reports.
pub fn lock_shared(file: File) -> io::Result<LockedFile> {
    point("flock")?;
    let lock = file.try_lock_shared();
    LockedFile::new(file, lock)
}

/// Removes a name; unlink(2). What fails for want of memory, or because of a signal, is tried again.
///
/// # Errors
/// What unlink(2) reports.
pub fn remove_name(path: &Path) -> io::Result<()> {
    const TRIES: usize = 4;
    let remove = || {
        point("unlink")?;
        std::fs::remove_file(path)
    };
    let mut removed = remove();
    for _ in 1..TRIES {
        match &removed {
            Err(error) if is_passing(error) => removed = remove(),
            _ => break,
        }
    }
    removed
}

/// True for errors of a moment.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::OutOfMemory | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_ends_with_its_value() {
        let path = std::env::temp_dir().join(format!("numpush-lock-{}", std::process::id()));
        let open = || {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false);
            options.open(&path).unwrap()
        };
        let alone = lock_exclusive(open()).unwrap();
        // As in a forked child: another descriptor of the same open file.
        let inherited = alone.try_clone().unwrap();
        let refused = lock_shared(open()).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
        drop(alone);
        let shares = [lock_shared(open()).unwrap(), lock_shared(open()).unwrap()];
        assert!(lock_exclusive(open()).is_err());
        drop((shares, inherited));
        remove_name(&path).unwrap();
        assert_eq!(
            remove_name(&path).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
    }
}
