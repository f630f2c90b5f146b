//! Which file is which.

use std::fs::Metadata;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::failpoint::failpoint;

/// The identity of a file or of memory behind a descriptor: its device and its inode number, inode(7).
///
/// It is the same in every process, and nothing else on the machine has it while somebody has the file open. The inode
/// number alone is not enough: memory from reserved huge pages lies on another device than other memory, which counts
/// for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[expect(
    clippy::exhaustive_structs,
    reason = "a file has no further part of its identity"
)]
pub struct FileId {
    /// Number of the device.
    pub dev: u64,
    /// Number of the inode on it.
    pub ino: u64,
}

impl FileId {
    /// The identity of what a descriptor refers to; [fstat(2)](https://man7.org/linux/man-pages/man2/fstat.2.html).
    ///
    /// # Errors
    /// What fstat(2) reports.
    pub fn of(file: impl AsFd) -> io::Result<Self> {
        failpoint("fstat")?;
        let status = nix::sys::stat::fstat(file)?;
        Ok(Self {
            dev: status.st_dev,
            ino: status.st_ino,
        })
    }

    /// The identity of the file at `path`, or of the symbolic link there;
    /// [lstat(2)](https://man7.org/linux/man-pages/man2/lstat.2.html).
    ///
    /// # Errors
    /// What lstat(2) reports.
    pub fn of_path(path: &Path) -> io::Result<Self> {
        failpoint("lstat")?;
        std::fs::symlink_metadata(path).map(|data| Self::from(&data))
    }
}

impl From<&Metadata> for FileId {
    fn from(data: &Metadata) -> Self {
        Self {
            dev: data.dev(),
            ino: data.ino(),
        }
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::memfd::{MFdFlags, memfd_create};

    use super::*;

    /// No page is asked for, so that a machine without reserved pages makes the descriptor too.
    #[test]
    fn memory_of_reserved_huge_pages_lies_on_another_device() {
        let Ok(huge) = memfd_create(c"t", MFdFlags::MFD_HUGETLB) else {
            return;
        };
        let plain = memfd_create(c"t", MFdFlags::empty()).unwrap();
        let (huge, plain) = (FileId::of(huge).unwrap(), FileId::of(plain).unwrap());
        assert_ne!(huge.dev, plain.dev, "so that inode numbers may collide");
        let collided = FileId {
            ino: plain.ino,
            ..huge
        };
        assert_ne!(collided, plain);
    }
}
