//! Files as buffers that nobody can change: mapped as they are, or copied once inside the kernel.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use numpush_message::{Backing, Buffer, Stability};
use numpush_os::{self as os, CopyFile, FileMapping, FileSnapshot};

/// Maps the file at `path`, if nobody can change it: it is sealed, immutable, or protected by fs-verity. Other files
/// could be truncated, and a read after the end of a mapping is a SIGBUS: read those.
///
/// Where the buffer goes by tcp, the kernel sends the file itself.
///
/// # Errors
/// What open(2) returns.
pub fn map(path: &Path) -> io::Result<Option<Buffer<'static>>> {
    // To open a named pipe would take it from its other reader.
    if !std::fs::metadata(path)?.is_file() {
        return Ok(None);
    }
    File::open(path).map(|file| map_file(&file))
}

/// Maps a copy of the file at `path` that nobody else can change, made inside the kernel. `None` for a file below 1 MiB, and for
/// what is no regular file: read those.
///
/// The copy shares the blocks of the file where the file system can (btrfs, xfs), and costs nothing then. Else a file
/// that fits into half of the memory that can be had is copied to sealed memory, whose descriptor unix passes on. A larger one is
/// copied to a file without a name, in the same folder or in that for temporary files, which takes as much room there; tcp has the
/// kernel send that copy itself.
///
/// # Errors
/// What open(2) returns; what the copy of a large file returns, a full file system too.
pub fn snapshot(path: &Path) -> io::Result<Option<Buffer<'static>>> {
    let found = std::fs::metadata(path)?;
    if !found.is_file() || found.len() < SMALL {
        return Ok(None);
    }
    let beside = std::fs::canonicalize(path)?;
    let beside = beside.parent().unwrap_or_else(|| Path::new("/"));
    let fits = os::available_memory().is_ok_and(|room| found.len() <= room / 2);
    if fits {
        let copied = copy_to_file(path, beside, CopyFile::Share).or_else(|_| copy_to_memory(path));
        return Ok(copied.ok());
    }
    let how = CopyFile::ShareOrCopy;
    copy_to_file(path, beside, how)
        .or_else(|_| copy_to_file(path, &std::env::temp_dir(), how))
        .map(Some)
}

/// A copy of fewer bytes is not worth its calls.
const SMALL: u64 = 1 << 20;

fn copy_to_file(path: &Path, folder: &Path, how: CopyFile) -> io::Result<Buffer<'static>> {
    let (copy, file) = FileSnapshot::new(&File::open(path)?, folder, how)?;
    Ok(backed(copy, Arc::new(file), Stability::File))
}

fn copy_to_memory(path: &Path) -> io::Result<Buffer<'static>> {
    let (memory, mapping) = os::sealed_copy(&File::open(path)?)?;
    Ok(backed(mapping, memory, Stability::Sealed))
}

fn backed(
    bytes: impl AsRef<[u8]> + Send + Sync + 'static,
    file: Arc<OwnedFd>,
    stability: Stability,
) -> Buffer<'static> {
    Buffer::from_owner(bytes).with_backing(Backing {
        file,
        offset: 0,
        stability,
    })
}

/// The file itself, if nobody can change it.
pub(super) fn map_file(file: &File) -> Option<Buffer<'static>> {
    let mapping = FileMapping::new(file).ok()?;
    let stability = if os::is_sealed(file) {
        Stability::Sealed
    } else {
        Stability::File
    };
    let file = OwnedFd::from(file.try_clone().ok()?);
    Some(backed(mapping, Arc::new(file), stability))
}

#[cfg(all(test, feature = "tcp"))]
mod tests {
    use std::io::Write as _;

    use numpush_message::{Limits, Message};

    use super::*;
    use crate::file::write;
    use crate::transfer::TransferPath;

    /// F12: the file is cut while its copy is on its way.
    #[test]
    fn a_copy_of_a_file_is_sent_by_the_kernel_whatever_becomes_of_the_file() {
        let folder = std::env::temp_dir();
        let path = folder.join(format!("numpush-copy-{}.np", std::process::id()));
        let bytes: Vec<u8> = (0..=250).cycle().take(3 << 20).collect();
        write(&path, &Message::new(Buffer::from(bytes.clone())), true).unwrap();
        let copied = copy_to_file(&path, &folder, CopyFile::ShareOrCopy);
        // EOPNOTSUPP, and EISDIR of kernels that do not know O_TMPFILE there.
        if let Err(error) = &copied
            && matches!(error.raw_os_error(), Some(95 | 21))
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
        let copy = copied.unwrap();
        let message = Message::open(&copy, &Limits::default().with_payload(u64::MAX)).unwrap();
        std::fs::write(&path, "cut").unwrap();
        std::fs::remove_file(&path).unwrap();
        let mut listener = crate::listen("tcp://127.0.0.1:0").unwrap();
        let mut tx = crate::connect(&listener.address()).unwrap();
        let mut rx = listener.accept().unwrap();
        std::thread::scope(|scope| {
            let sent = scope.spawn(|| tx.send(&message).unwrap());
            let received = rx.recv().unwrap().message;
            assert_eq!(received.as_bytes().unwrap()[..], bytes[..]);
            assert_eq!(sent.join().unwrap().path, TransferPath::SendFile);
        });
    }

    /// F12, of a file that fits into memory.
    #[test]
    fn a_copy_of_a_file_in_memory_stays_as_it_was() {
        let folder = std::env::temp_dir();
        let path = folder.join(format!("numpush-memory-copy-{}.np", std::process::id()));
        let bytes: Vec<u8> = (0..=250).cycle().take(3 << 20).collect();
        std::fs::write(&path, &bytes).unwrap();
        let copy = snapshot(&path).unwrap().unwrap();
        let memory = copy_to_memory(&path).unwrap();
        std::fs::write(&path, "small").unwrap();
        assert_eq!(copy[..], bytes[..]);
        assert_eq!(memory[..], bytes[..]);
        assert_eq!(memory.backing().unwrap().stability, Stability::Sealed);
        assert!(snapshot(&path).unwrap().is_none());
        std::fs::remove_file(&path).unwrap();
        assert!(snapshot(&folder).unwrap().is_none(), "a folder");
        assert!(snapshot(&path).is_err());
    }
}
