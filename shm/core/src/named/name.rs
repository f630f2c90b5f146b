//! Names in /dev/shm, and those that nobody uses any more.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use numpush_os::{FileId, lock_exclusive, remove_name, user};

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
    let Ok(locked) = lock_exclusive(file) else {
        return Ok(false);
    };
    // Between the open and the lock the name may have become another's.
    let same = FileId::of(&*locked)? == FileId::of_path(path)?;
    if same {
        remove_name(path)?;
    }
    Ok(same)
}
