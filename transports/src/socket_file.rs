//! The file of a listening socket: who may take the path, and who removes it.
//!
//! The only file that is ever removed is a socket that no process has open any more. A fresh path needs no lock: bind(2)
//! makes the file or fails. To replace an abandoned socket takes two steps, so whoever does it holds a lock on the folder
//! (flock(2)) in between. The folder itself is locked: no lock file stays.

use std::fs::{self, File, FileType};
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use numpush_os::{self as os, FileId};

use crate::deadline::Backoff;
use crate::origin::Origin;

/// Longest wait for others who replace an abandoned socket in the same folder. Each takes well under a millisecond.
const LOCK_WAIT: Duration = Duration::from_secs(2);

/// Listens at `path`, which must be free or an abandoned socket.
pub(crate) fn bind(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    let listener = match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => replace(path)?,
        result => result?,
    };
    let file = SocketFile {
        path: path.to_owned(),
        identity: FileId::of_path(path).ok(),
        origin: Origin::here(),
    };
    Ok((listener, file))
}

/// Replaces an abandoned socket, if that is what is at `path`.
fn replace(path: &Path) -> io::Result<UnixListener> {
    // Without the lock first: whoever is refused needs no rights on the folder, and does not wait.
    expect_abandoned(path)?;
    let _lock = lock_folder(path)?;
    if expect_abandoned(path)? {
        fs::remove_file(path)?;
    }
    UnixListener::bind(path)
}

/// True if an abandoned socket is at `path`, false if nothing is there any more; else the error names what is there.
fn expect_abandoned(path: &Path) -> io::Result<bool> {
    let kind = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        result => result?.file_type(),
    };
    if !kind.is_socket() {
        let text = format!(
            "there is {} of that name, which is kept: listen at another path",
            describe(kind)
        );
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
    }
    // A datagram socket never connects to a stream listener, so this disturbs nobody and does not wait. The kernel tells
    // apart a socket of another type (EPROTOTYPE: some process has it) and one that no process has.
    match UnixDatagram::unbound()?.connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(error),
        _ => Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            "another process has a socket there",
        )),
    }
}

fn describe(kind: FileType) -> &'static str {
    if kind.is_symlink() {
        "a symbolic link"
    } else if kind.is_dir() {
        "a folder"
    } else if kind.is_fifo() {
        "a named pipe"
    } else if kind.is_file() {
        "a file"
    } else {
        "a device"
    }
}

/// Waits for the lock of the folder that `path` is in.
fn lock_folder(path: &Path) -> io::Result<impl Sized> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or_else(|| Path::new("."));
    let until = Instant::now() + LOCK_WAIT;
    let mut backoff = Backoff::new();
    loop {
        match os::lock_exclusive(File::open(folder)?) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            result => return result,
        }
        if Instant::now() >= until {
            let text = format!(
                "another process keeps the folder {} locked",
                folder.display()
            );
            return Err(io::Error::new(io::ErrorKind::WouldBlock, text));
        }
        backoff.sleep();
    }
}

/// The file of a socket of ours. It is removed on drop, unless it is not ours any more. What a forked child drops is its
/// parent's.
///
/// Drop it before the socket: as long as the socket lives, nobody replaces the file.
pub(crate) struct SocketFile {
    path: PathBuf,
    identity: Option<FileId>,
    origin: Origin,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.identity.is_some()
            && self.origin.is_here()
            && FileId::of_path(&self.path).ok() == self.identity
        {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::process::Command;
    use std::sync::Barrier;

    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let name = format!("numpush-path-{name}-{}", std::process::id());
            let folder = std::env::temp_dir().join(name);
            fs::create_dir(&folder).unwrap();
            Self(folder)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn refused(path: &Path) -> io::Error {
        bind(path).map(drop).unwrap_err()
    }

    #[test]
    fn nothing_but_an_abandoned_socket_is_removed() {
        let folder = Folder::new("kept");
        let at = |name: &str| folder.0.join(name);
        fs::write(at("file"), "data").unwrap();
        std::os::unix::fs::symlink(at("file"), at("link")).unwrap();
        std::os::unix::fs::symlink(at("nowhere"), at("dangling")).unwrap();
        fs::create_dir(at("folder")).unwrap();
        assert!(
            Command::new("mkfifo")
                .arg(at("fifo"))
                .status()
                .unwrap()
                .success()
        );
        drop(UnixListener::bind(at("target")).unwrap());
        std::os::unix::fs::symlink(at("target"), at("socket-link")).unwrap();
        for name in ["file", "link", "dangling", "folder", "fifo", "socket-link"] {
            let before = FileId::of_path(&at(name)).unwrap();
            let error = refused(&at(name));
            assert_eq!(
                error.kind(),
                io::ErrorKind::AlreadyExists,
                "{name}: {error}"
            );
            assert!(error.to_string().contains("is kept"), "{name}: {error}");
            assert_eq!(FileId::of_path(&at(name)).unwrap(), before, "{name}");
        }
        assert_eq!(fs::read(at("file")).unwrap(), b"data");
    }

    #[test]
    fn a_socket_that_any_process_has_is_kept() {
        let folder = Folder::new("live");
        let path = folder.0.join("socket");
        let expect_kept = |what: &str| {
            let before = FileId::of_path(&path).unwrap();
            let error = refused(&path);
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse, "{what}: {error}");
            assert_eq!(FileId::of_path(&path).unwrap(), before, "{what}");
            fs::remove_file(&path).unwrap();
        };
        // A queue that is full would make a connect wait.
        let listener = UnixListener::bind(&path).unwrap();
        listener.set_nonblocking(true).unwrap();
        let _queue: Vec<_> = (0..64).map(|_| UnixStream::connect(&path)).collect();
        expect_kept("a listener");
        let datagram = UnixDatagram::bind(&path).unwrap();
        expect_kept("a datagram socket");
        drop((listener, datagram));
    }

    #[test]
    fn of_many_at_one_abandoned_socket_one_gets_it() {
        let folder = Folder::new("race");
        let path = folder.0.join("socket");
        for _ in 0..100 {
            drop(UnixListener::bind(&path).unwrap());
            let barrier = Barrier::new(8);
            let start = || {
                barrier.wait();
                let bound = bind(&path);
                barrier.wait();
                if let Err(error) = &bound {
                    assert_eq!(error.kind(), io::ErrorKind::AddrInUse, "{error}");
                } else {
                    UnixStream::connect(&path).unwrap();
                }
                barrier.wait();
                bound.is_ok()
            };
            let won = std::thread::scope(|scope| {
                let all: Vec<_> = (0..8).map(|_| scope.spawn(start)).collect();
                all.into_iter()
                    .map(|one| one.join().unwrap())
                    .filter(|&won| won)
                    .count()
            });
            assert_eq!(won, 1);
            assert!(!path.exists(), "the winner removes its file");
            assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 0, "nothing stays");
        }
    }
}
