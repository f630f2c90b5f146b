//! Names in /dev/shm, and those that nobody uses any more.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use numpush_os::{FileId, failpoint, user};

use super::error::NamedError;

/// Where the kernel keeps shared memory with names.
pub(super) const FOLDER: &str = "/dev/shm";

/// What the names of this library begin with, so that [`reap_names`] finds them.
pub(super) const PREFIX: &str = "np.";

pub(super) fn path_of(name: &str) -> io::Result<PathBuf> {
    // A leading slash is the POSIX spelling of the same name; shm_open(3).
    let plain = name.strip_prefix('/').unwrap_or(name);
    let fits = !plain.is_empty()
        && plain.len() <= 255
        && !plain.contains(['/', '\0'])
        && !plain.starts_with('.');
    if fits {
        Ok(Path::new(FOLDER).join(plain))
    } else {
        Err(io::ErrorKind::InvalidInput.into())
    }
}

/// Marks the file as in use, which [`reap_names`] sees.
pub(super) fn share(file: File) -> io::Result<Flock<File>> {
    failpoint("flock")?;
    Flock::lock(file, FlockArg::LockSharedNonblock).map_err(|(_, errno)| errno.into())
}

/// Removes the names of this library that belong to this user and that no program of numpush has open. Returns them in
/// order. A program of another kind that has one open keeps its memory; only the name goes.
///
/// # Errors
/// [`NamedError::Io`] if /dev/shm cannot be read.
pub fn reap_names() -> Result<Vec<String>, NamedError> {
    reap_from(PREFIX).map_err(|source| NamedError::Io {
        operation: "read /dev/shm",
        source,
    })
}

pub(super) fn reap_from(prefix: &str) -> io::Result<Vec<String>> {
    let mut reaped = Vec::new();
    for entry in std::fs::read_dir(FOLDER)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(prefix) && reap(&entry.path()).unwrap_or(false) {
            reaped.push(name);
        }
    }
    reaped.sort();
    Ok(reaped)
}

fn reap(path: &Path) -> io::Result<bool> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)?;
    if !file.metadata()?.is_file() || file.metadata()?.uid() != user() {
        return Ok(false);
    }
    let Ok(locked) = Flock::lock(file, FlockArg::LockExclusiveNonblock) else {
        return Ok(false);
    };
    // Between the open and the lock the name may have become another's.
    let same = FileId::of(&*locked)? == FileId::of_path(path)?;
    if same {
        std::fs::remove_file(path)?;
    }
    Ok(same)
}
