//! Copies of files that nobody else can open, so that they can be mapped.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::ops::Deref;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use memmap2::{Mmap, MmapOptions};
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};

use crate::failpoint::{failpoint, point};
use crate::seal::file_len;

mod clone {
    nix::ioctl_write_int!(
        /// FICLONE of ioctl_ficlone(2); its argument is the descriptor to clone from.
        from, 0x94, 9
    );
}

/// A read-only view of a copy of a file. The copy has no name and can get none, and its only descriptor cannot write: it
/// stays as it is while it is mapped.
#[derive(Debug)]
pub struct FileSnapshot(Mmap);

/// How a file may be copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the kernel has two ways")]
pub enum CopyFile {
    /// By sharing its blocks; ioctl_ficlone(2). Costs nothing, and few file systems can (btrfs, xfs).
    Share,
    /// By sharing its blocks, or else by copying its bytes inside the kernel; copy_file_range(2).
    ShareOrCopy,
}

impl FileSnapshot {
    /// Copies `file`, as it is from its position on, to a file without a name in `folder`, and maps that. Returns its
    /// descriptor too.
    ///
    /// # Errors
    /// EOPNOTSUPP, EXDEV or EINVAL if the blocks cannot be shared and `how` allows no more, or if the file system has no files
    /// without a name; ENOSPC if it is full; what open(2), copy_file_range(2) and mmap(2) report.
    pub fn new(file: &File, folder: &Path, how: CopyFile) -> io::Result<(Self, OwnedFd)> {
        let copy = copy_of(file, folder, how)?;
        let len = file_len(&copy)?;
        failpoint("mmap")?;
        // SAFETY: the file was made here without a name, and O_EXCL lets nobody give it one; the only descriptor that could
        // write to it or truncate it is closed, and its mode lets nobody open another for that. Root could, and whoever can
        // trace this process, who could as well write its memory.
        let mapping = unsafe { MmapOptions::new().len(len).map(&copy) }?;
        Ok((Self(mapping), copy.into()))
    }
}

/// The copy, open for reading only.
fn copy_of(file: &File, folder: &Path, how: CopyFile) -> io::Result<File> {
    point("open")?;
    let copy = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_TMPFILE | libc::O_EXCL)
        .mode(0o400)
        .open(folder)?;
    match share(file, copy.as_raw_fd()) {
        Ok(()) => {}
        Err(errno) if how == CopyFile::Share => return Err(errno.into()),
        Err(_) => copy_bytes(file, &copy)?,
    }
    // By the descriptor's name, because the file has none.
    point("open")?;
    File::open(format!("/proc/self/fd/{}", copy.as_raw_fd()))
}

fn share(file: &File, copy: RawFd) -> nix::Result<()> {
    point("ioctl")?;
    let from = u64::try_from(file.as_raw_fd()).map_err(|_| Errno::EBADF)?;
    // SAFETY: both descriptors are open, and the kernel touches no memory of ours.
    unsafe { clone::from(copy, from) }.map(drop)
}

fn copy_bytes(file: &File, mut copy: &File) -> io::Result<()> {
    let len = file.metadata()?.len();
    point("fallocate")?;
    // All blocks at once: a file system that is full says so before anything is copied, and no page of the mapping is a hole.
    match fallocate(copy, FallocateFlags::empty(), 0, len.cast_signed()) {
        // Of no bytes, or a file system that cannot.
        Ok(()) | Err(Errno::EINVAL | Errno::EOPNOTSUPP) => {}
        Err(errno) => return Err(errno.into()),
    }
    point("copy_file_range")?;
    let copied = io::copy(&mut file.take(len), &mut copy)?;
    // It was cut meanwhile.
    copy.set_len(copied)
}

impl Deref for FileSnapshot {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for FileSnapshot {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_snapshot_stays_as_it_was() {
        let folder = std::env::temp_dir();
        let path = folder.join(format!("numpush-snapshot-{}", std::process::id()));
        let bytes: Vec<u8> = (0..=255).cycle().take(3 << 20).collect();
        std::fs::write(&path, &bytes).unwrap();
        let file = File::open(&path).unwrap();
        let made = FileSnapshot::new(&file, &folder, CopyFile::ShareOrCopy);
        if let Err(error) = &made
            && matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EISDIR))
        {
            std::fs::remove_file(&path).unwrap();
            // Past the harness, which hides what a test prints that does not fail.
            let _ = writeln!(
                io::stderr(),
                "NOT RUN: the file system of {} has no files without a name: {error}",
                folder.display()
            );
            return;
        }
        let (snapshot, descriptor) = made.unwrap();
        // F12: the file is truncated and written under its reader.
        OpenOptions::new()
            .write(true)
            .truncate(true)
            .open(&path)
            .unwrap();
        assert!(*snapshot == bytes[..]);
        assert!(nix::unistd::ftruncate(&descriptor, 0).is_err());
        assert!(nix::unistd::write(&descriptor, b"x").is_err());
        let empty = File::open(&path).unwrap();
        let (snapshot, _) = FileSnapshot::new(&empty, &folder, CopyFile::ShareOrCopy).unwrap();
        assert!(snapshot.is_empty());
        std::fs::remove_file(&path).unwrap();
    }
}
