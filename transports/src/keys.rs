//! Keys of ZeroMQ's CURVE, and the files that hold them: a line of 40 characters in Z85, as libzmq reads and writes keys.
//!
//! A pair is two files. `PATH` has the secret key, which only its owner may read, and `PATH.pub` the public key, which goes to
//! the other side. `numpush keygen PATH` makes them.
//!
//! ```
//! use numpush_transports::keys::{SecretKey, read_public, read_secret, write};
//!
//! # let folder = std::env::temp_dir().join(format!("numpush-keys-{}", std::process::id()));
//! # let _ = std::fs::remove_dir_all(&folder);
//! # std::fs::create_dir(&folder)?;
//! # let path = folder.join("server");
//! let key = SecretKey::generate()?;
//! let public = write(&path, &key)?;
//! assert_eq!(read_secret(&path)?.public(), key.public());
//! assert_eq!(read_public(&public)?, key.public());
//! # std::fs::remove_dir_all(&folder)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::borrow::Cow;
use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

pub use crate::security::{Allowed, Curve, Plain};
use numpush_os as os;
pub use numpush_zmtp::{KeyError, NoRandom, PublicKey, SecretKey, Z85Error, Zeroizing};

/// Bytes of the longest file with one key: the key, and what an editor may add.
const LONGEST_KEY: u64 = 1 << 10;

/// Bytes of the longest list of keys: twenty thousand of them.
const LONGEST_LIST: u64 = 1 << 20;

/// Why a file with keys was not written or read.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// There is a file with this name already, and keys are never overwritten.
    #[error("{}: it is there already, and keys are not overwritten", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Others than the owner may read or change a secret key.
    #[error("{}: others may read or change this secret key (mode {mode:04o}): make it 0600, or make a new key", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Others than the owner may change a file that says whom to trust.
    #[error("{}: others may change this file, and so whom we trust (mode {mode:04o}): make it 0644", path.display())]
    Writable {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It is no regular file, or another one than it was a moment ago.
    #[error("{}: it is not a regular file", path.display())]
    Kind {
        /// The file.
        path: PathBuf,
    },
    /// A file belongs to another user, who is not root.
    #[error("{}: it belongs to user {owner}, and we are user {ours}", path.display())]
    Owner {
        /// The file.
        path: PathBuf,
        /// The user of the file.
        owner: u32,
        /// The user of this process.
        ours: u32,
    },
    /// A file is longer than one with keys.
    #[error("{}: it is longer than the limit of {limit} bytes for a file with keys", path.display())]
    Long {
        /// The file.
        path: PathBuf,
        /// Bytes of the longest.
        limit: u64,
    },
    /// A line is not a key.
    #[error("{}: line {line} is not a key", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// Why.
        source: KeyError,
    },
    /// A line is not a name, a blank and a password, of at most 255 bytes each; or there are several where one is needed.
    #[error("{}: line {line} is not the one name and password, with a blank between", path.display())]
    Login {
        /// The file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
    },
    /// There are no random bytes for a new key.
    #[error(transparent)]
    NoRandom(#[from] NoRandom),
    /// The kernel refuses.
    #[error("{}: {operation} failed", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The call that failed.
        operation: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// Writes a pair of keys to two new files: the secret one to `path` with mode 0600, and the public one to `path.pub`, which it
/// returns, with mode 0644. Both, and their names, are on the disk on return. Nobody ever sees a part of one.
///
/// # Errors
/// If one of the files exists, and what open(2), write(2), fsync(2) and linkat(2) report. Then there is neither of them. If the process
/// is killed in the middle there may be the secret key alone: [`read_secret`] has the public key too.
pub fn write(path: &Path, key: &SecretKey) -> Result<PathBuf, KeyFileError> {
    let public = public_path(path);
    if fs::symlink_metadata(&public).is_ok() {
        return Err(KeyFileError::Exists { path: public });
    }
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let names = File::open(folder).map_err(io_error(folder, "open"))?;
    let secret = New::write(folder, path, 0o600, &key.to_z85())?;
    let named = New::write(folder, &public, 0o644, &key.public().to_string())?;
    let secret = secret.link()?;
    let named = named.link()?;
    os::sync_file(&names).map_err(io_error(folder, "fsync"))?;
    secret.keep();
    named.keep();
    Ok(public)
}

/// The file with the public key beside the one with the secret key.
fn public_path(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".pub");
    name.into()
}

/// Reads a secret key.
///
/// # Errors
/// For a file that others may read or change; one that belongs to another user, unless that is root, who may let a group of ours
/// read it; one that has no key; and what open(2) and read(2) report.
pub fn read_secret(path: &Path) -> Result<SecretKey, KeyFileError> {
    let text = read_private(path, LONGEST_KEY)?;
    text.trim().parse().map_err(key_error(path, 1))
}

/// Reads names and passwords, one line each.
pub(crate) fn read_logins(path: &Path) -> Result<Zeroizing<String>, KeyFileError> {
    read_private(path, LONGEST_LIST)
}

fn read_private(path: &Path, limit: u64) -> Result<Zeroizing<String>, KeyFileError> {
    let (file, found) = open(path)?;
    check_secret(path, found.uid(), os::user(), found.mode() & 0o7777)?;
    read(file, path, limit)
}

fn check_secret(path: &Path, owner: u32, ours: u32, mode: u32) -> Result<(), KeyFileError> {
    check_owner(path, owner, ours)?;
    // What root gives to a service is for the group of that.
    let others = if owner == ours { 0o077 } else { 0o037 };
    if mode & others != 0 {
        let path = path.to_owned();
        return Err(KeyFileError::Exposed { path, mode });
    }
    Ok(())
}

fn check_owner(path: &Path, owner: u32, ours: u32) -> Result<(), KeyFileError> {
    let path = path.to_owned();
    if owner != ours && owner != 0 {
        return Err(KeyFileError::Owner { path, owner, ours });
    }
    Ok(())
}

/// Opens a file that says whom to trust. Everybody may read it.
fn open_trusted(path: &Path) -> Result<File, KeyFileError> {
    let (file, found) = open(path)?;
    check_owner(path, found.uid(), os::user())?;
    let mode = found.mode() & 0o7777;
    if mode & 0o022 != 0 {
        let path = path.to_owned();
        return Err(KeyFileError::Writable { path, mode });
    }
    Ok(file)
}

/// Opens a regular file. One that is a pipe would be waited for.
fn open(path: &Path) -> Result<(File, fs::Metadata), KeyFileError> {
    let before = fs::metadata(path).map_err(io_error(path, "open"))?;
    let no_file = || KeyFileError::Kind {
        path: path.to_owned(),
    };
    if !before.is_file() {
        return Err(no_file());
    }
    let file = File::open(path).map_err(io_error(path, "open"))?;
    let found = file.metadata().map_err(io_error(path, "fstat"))?;
    if !found.is_file() {
        return Err(no_file());
    }
    Ok((file, found))
}

/// Reads a public key.
///
/// # Errors
/// For a file that has no key, that others may change, or that belongs to another user than root; and what open(2) and read(2) report.
pub fn read_public(path: &Path) -> Result<PublicKey, KeyFileError> {
    let file = open_trusted(path)?;
    let text = read(file, path, LONGEST_KEY)?;
    text.trim().parse().map_err(key_error(path, 1))
}

/// Reads the public keys of who may come in, one a line. What follows a key after a blank, and a line that begins with `#` and a blank,
/// is for people.
///
/// # Errors
/// For a line that is not a key; for a file that others may change, or that belongs to another user than root; and what open(2) and
/// read(2) report.
pub fn read_allowed(path: &Path) -> Result<HashSet<PublicKey>, KeyFileError> {
    let file = open_trusted(path)?;
    let text = read(file, path, LONGEST_LIST)?;
    // A key may begin with #, but has no blank.
    let words = text.lines().map(|line| line.split_whitespace().next());
    let keys = (1..)
        .zip(words)
        .filter_map(|(line, word)| Some((line, word.filter(|word| *word != "#")?)));
    keys.map(|(line, word)| word.parse().map_err(key_error(path, line)))
        .collect()
}

fn read(file: File, path: &Path, limit: u64) -> Result<Zeroizing<String>, KeyFileError> {
    let room = usize::try_from(limit).unwrap_or(0);
    // The text does not grow, so that no copy of it stays behind.
    let mut text = Zeroizing::new(String::with_capacity(room + 1));
    let read = file.take(limit + 1).read_to_string(&mut text);
    if read.map_err(io_error(path, "read"))? > room {
        let path = path.to_owned();
        return Err(KeyFileError::Long { path, limit });
    }
    Ok(text)
}

/// A file on the disk that has no name yet, and the one that it gets.
struct New<'p> {
    file: File,
    path: &'p Path,
    /// Where there are no files without a name (NFS, FUSE, no /proc). It stays there if the process is killed.
    temporary: Option<Linked<'p>>,
}

impl<'p> New<'p> {
    fn write(folder: &Path, path: &'p Path, mode: u32, text: &str) -> Result<Self, KeyFileError> {
        let (mut file, temporary) = match os::create_unnamed(folder, mode) {
            Ok(file) => (file, None),
            Err(_) => {
                let mut name = OsString::from(path);
                name.push(format!(".new-{}", std::process::id()));
                let mut options = OpenOptions::new();
                let made = options.write(true).create_new(true).mode(mode).open(&name);
                let file = made.map_err(io_error(path, "open"))?;
                (file, Some(Linked(Some(Cow::Owned(name.into())))))
            }
        };
        let written = file.write_all(text.as_bytes());
        written
            .and_then(|()| file.write_all(b"\n"))
            .map_err(io_error(path, "write"))?;
        os::sync_file(&file).map_err(io_error(path, "fsync"))?;
        Ok(Self {
            file,
            path,
            temporary,
        })
    }

    /// Gives it its name, which must not be there.
    fn link(self) -> Result<Linked<'p>, KeyFileError> {
        let path = self.path;
        let linked = match self.temporary.as_ref().and_then(|it| it.0.as_deref()) {
            None => os::commit_file(&self.file, path),
            Some(temporary) => fs::hard_link(temporary, path),
        };
        linked.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => KeyFileError::Exists {
                path: path.to_owned(),
            },
            _ => io_error(path, "linkat")(error),
        })?;
        Ok(Linked(Some(Cow::Borrowed(path))))
    }
}

/// A name that goes away again unless it is kept.
struct Linked<'p>(Option<Cow<'p, Path>>);

impl Linked<'_> {
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Linked<'_> {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            let _ = fs::remove_file(path);
        }
    }
}

fn io_error(path: &Path, operation: &'static str) -> impl Fn(io::Error) -> KeyFileError {
    move |source| KeyFileError::Io {
        path: path.to_owned(),
        operation,
        source,
    }
}

fn key_error(path: &Path, line: usize) -> impl Fn(KeyError) -> KeyFileError {
    move |source| KeyFileError::Key {
        path: path.to_owned(),
        line,
        source,
    }
}

#[cfg(test)]
mod tests;
