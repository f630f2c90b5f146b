//! Copies of files in sealed memory, made inside the kernel.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::SealFlag;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::sendfile::sendfile;

use crate::failpoint::{failpoint, point};
use crate::mapping::SealedMapping;
use crate::memory::size_to_allocate;
use crate::seal::{NO_RESIZE, add_seals, file_len};

/// Copies `file`, from its position to its end, to memory that nobody can change; sendfile(2), memfd_create(2).
///
/// The kernel takes a page of memory and fills it at once: no page is zeroed, none is faulted in. To read a file of 256 MiB
/// into fresh memory of this process took twice the time.
///
/// The copy may have fewer bytes than the file had, if somebody truncated it meanwhile.
///
/// # Errors
/// [`io::ErrorKind::OutOfMemory`] or [`io::ErrorKind::StorageFull`] if there is no memory for it; EINVAL for what sendfile(2)
/// cannot read (a pipe, some files of /proc); else what the calls report.
pub fn sealed_copy(file: &File) -> io::Result<(Arc<OwnedFd>, SealedMapping)> {
    let len = file_len(file)?;
    size_to_allocate(len)?;
    failpoint("memfd_create")?;
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let copy = memfd_create("numpush", flags)?;
    let mut left = len;
    while left > 0 {
        // sendfile stops at 0x7fff_f000 bytes, and at the end of the file.
        match point("sendfile").and_then(|()| sendfile(&copy, file, None, left)) {
            Ok(0) => break,
            Ok(count) => left = left.saturating_sub(count),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    // Every page of it was written, so it has no holes. Nobody has it mapped for writing.
    add_seals(
        &copy,
        NO_RESIZE | SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SEAL,
    )?;
    let mapping = SealedMapping::new(&copy)?;
    Ok((Arc::new(copy), mapping))
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, SeekFrom, Write};

    use super::*;
    use crate::is_sealed;

    fn file_of(bytes: &[u8]) -> File {
        let mut file = crate::create_unnamed(&std::env::temp_dir(), 0o600)
            .or_else(|_| {
                let path =
                    std::env::temp_dir().join(format!("numpush-sealed-{}", std::process::id()));
                let file = File::options()
                    .read(true)
                    .write(true)
                    .create(true)
                    .truncate(true)
                    .open(&path)?;
                std::fs::remove_file(&path)?;
                Ok::<File, io::Error>(file)
            })
            .unwrap();
        file.write_all(bytes).unwrap();
        file.seek(SeekFrom::Start(0)).unwrap();
        file
    }

    #[test]
    fn a_copy_in_memory_stays_as_it_was() {
        let bytes: Vec<u8> = (0..=250).cycle().take(3 << 20).collect();
        let file = file_of(&bytes);
        let (memory, mapping) = sealed_copy(&file).unwrap();
        file.set_len(0).unwrap();
        assert!(is_sealed(&*memory));
        assert_eq!(mapping[..], bytes[..]);
    }

    #[test]
    fn a_hole_of_the_file_is_memory_in_the_copy() {
        let file = file_of(b"");
        file.set_len(1 << 20).unwrap();
        let (memory, mapping) = sealed_copy(&file).unwrap();
        assert!(is_sealed(&*memory));
        assert_eq!(mapping.len(), 1 << 20);
        assert!(mapping.iter().all(|&byte| byte == 0));
    }

    #[test]
    fn a_file_that_memory_cannot_hold_is_an_error() {
        let file = file_of(b"");
        file.set_len(1 << 43).unwrap();
        let error = sealed_copy(&file).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::OutOfMemory);
    }
}
