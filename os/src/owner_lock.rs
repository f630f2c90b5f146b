//! A lock by which others see that its holder lives, without taking it.

use std::fs::File;
use std::io;

use nix::fcntl::{FcntlArg, fcntl};

use crate::failpoint::point;
use crate::fork::{forks, watch_forks};

/// An open file and its exclusive lock; fcntl(2), F_OFD_SETLK. The drop of the value lets go of the lock, and the end of the
/// process does, unless a forked child has the file open too. The child's copy of the value lets go of nothing.
#[derive(Debug)]
pub struct OwnerLock {
    file: File,
    /// The lock is of the open file, which a forked child shares with its parent.
    forks: u32,
}

impl OwnerLock {
    /// Takes the lock of a file that is open for writing, without waiting.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if somebody holds it; what fcntl(2) reports (ENOLCK on a network file system without
    /// locks).
    pub fn take(file: File) -> io::Result<Self> {
        watch_forks();
        point("fcntl")?;
        fcntl(&file, FcntlArg::F_OFD_SETLK(&whole(libc::F_WRLCK)))?;
        Ok(Self {
            file,
            forks: forks(),
        })
    }

    /// The file that is locked.
    pub fn file(&self) -> &File {
        &self.file
    }
}

impl Drop for OwnerLock {
    fn drop(&mut self) {
        if self.forks != forks() {
            return;
        }
        // The kernel may have no memory to unlock it: the lock goes with the last descriptor then.
        let _ = fcntl(&self.file, FcntlArg::F_OFD_SETLK(&whole(libc::F_UNLCK)));
    }
}

/// True if somebody holds the lock of a file that is open by another descriptor; fcntl(2), F_OFD_GETLK. Nobody who tries to
/// take it meanwhile notices.
///
/// # Errors
/// What fcntl(2) reports.
pub fn is_locked(file: &File) -> io::Result<bool> {
    point("fcntl")?;
    let mut lock = whole(libc::F_WRLCK);
    fcntl(file, FcntlArg::F_OFD_GETLK(&mut lock))?;
    Ok(i32::from(lock.l_type) != libc::F_UNLCK)
}

/// A lock of all bytes of a file, which may have none.
fn whole(kind: i32) -> libc::flock {
    libc::flock {
        l_type: i16::try_from(kind).unwrap_or_default(),
        l_whence: i16::try_from(libc::SEEK_SET).unwrap_or_default(),
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;

    use super::*;

    #[test]
    fn a_lock_is_seen_and_ends_with_its_value() {
        let path = std::env::temp_dir().join(format!("numpush-owner-{}", std::process::id()));
        let open = || {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false);
            options.open(&path).unwrap()
        };
        let other = open();
        assert!(!is_locked(&other).unwrap());
        let lock = OwnerLock::take(open()).unwrap();
        // As in a forked child: another descriptor of the same open file.
        let inherited = lock.file().try_clone().unwrap();
        assert!(is_locked(&other).unwrap());
        let refused = OwnerLock::take(open()).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
        drop(lock);
        assert!(!is_locked(&other).unwrap());
        OwnerLock::take(other).unwrap();
        drop(inherited);
        std::fs::remove_file(&path).unwrap();
    }
}
