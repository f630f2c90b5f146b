//! Shared memory with a name, for programs that open it by name; shm_overview(7).

use std::cell::Cell;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use bytemuck::Pod;
use nix::fcntl::{FallocateFlags, Flock, FlockArg, fallocate};
use numpush_os::{commit_file, size_to_allocate};

/// Where the kernel keeps shared memory with names.
const FOLDER: &str = "/dev/shm";

mod def {
    use super::{Cell, File, Pod, io};
    use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
    use std::num::NonZeroUsize;
    use std::ptr::NonNull;

    /// Named memory, mapped.
    ///
    /// # Invariants
    /// 1. `base` points to `len` bytes, mapped for reading (and writing, if `writable`) while `self` lives. Every page
    ///    was allocated when they were mapped.
    /// 2. References to the bytes are to cells: others may write them at any time. Cells are not for threads.
    ///
    /// What cannot be had of named memory is a seal: a program of the same user that truncates it makes the next
    /// access a SIGBUS. No program that only uses the POSIX calls does so after it made the memory.
    #[derive(Debug)]
    pub(super) struct Mapping {
        base: NonNull<u8>,
        len: usize,
        writable: bool,
    }

    // SAFETY: the mapping belongs to the process; its cells are reached by one thread at a time, as it is not Sync.
    unsafe impl Send for Mapping {}

    impl Mapping {
        pub(super) fn new(file: &File, len: usize, writable: bool) -> io::Result<Self> {
            let length = NonZeroUsize::new(len).ok_or(io::ErrorKind::InvalidInput)?;
            let read = ProtFlags::PROT_READ;
            let protection = if writable {
                read | ProtFlags::PROT_WRITE
            } else {
                read
            };
            // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
            let base = unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED, file, 0) }?;
            Ok(Self {
                base: base.cast(),
                len,
                writable,
            })
        }

        pub(super) fn len(&self) -> usize {
            self.len
        }

        /// Every whole `T` of it.
        pub(super) fn cells<T: Pod>(&self) -> Option<&[Cell<T>]> {
            let count = self
                .len
                .checked_div(size_of::<T>())
                .filter(|_| self.writable)?;
            // SAFETY: inside the mapping (1), which begins on a page; any bytes are a `T`; cells may change (2).
            Some(unsafe { std::slice::from_raw_parts(self.base.cast().as_ptr(), count) })
        }

        /// Copies bytes from `offset` on; what others write meanwhile may be in it or not.
        pub(super) fn copy_to(&self, offset: usize, bytes: &mut [u8]) {
            assert!(
                offset
                    .checked_add(bytes.len())
                    .is_some_and(|end| end <= self.len)
            );
            // SAFETY: inside the mapping, by the check above.
            let from = unsafe { self.base.add(offset) };
            // SAFETY: both are valid for so many bytes, and a private buffer does not overlap a mapping of ours.
            unsafe {
                std::ptr::copy_nonoverlapping(from.as_ptr(), bytes.as_mut_ptr(), bytes.len())
            };
        }
    }

    impl Drop for Mapping {
        fn drop(&mut self) {
            // SAFETY: the range is ours (1), and no borrow outlives `self`. It cannot fail for such a range.
            let _ = unsafe { munmap(self.base.cast(), self.len) };
        }
    }
}

/// Memory with a name, which any program of this user can open: Python's `multiprocessing.shared_memory`, say.
///
/// Nothing orders the access of those who have it open, and nothing keeps one of them from truncating it. What is
/// shared between programs of numpush is better shared without a name.
#[derive(Debug)]
pub struct NamedMapping {
    mapping: def::Mapping,
    name: String,
    file: Flock<File>,
    /// Whether the name goes when this does.
    owned: bool,
}

impl NamedMapping {
    /// Makes `len` bytes of zeros called `name`. Its name goes with the value returned.
    ///
    /// It is born whole: a name is given to it only when its pages are allocated and it is locked (open(2), O_TMPFILE;
    /// linkat(2); flock(2)).
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`]; [`io::ErrorKind::StorageFull`] if /dev/shm does not have the pages;
    /// [`io::ErrorKind::InvalidInput`] for no bytes or for a name with a slash.
    pub fn create(name: &str, len: usize) -> io::Result<Self> {
        let path = path_of(name)?;
        let size = size_to_allocate(len)?;
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .custom_flags(libc::O_TMPFILE | libc::O_CLOEXEC)
            .mode(0o600);
        let file = options.open(FOLDER)?;
        if size > 0 {
            fallocate(&file, FallocateFlags::empty(), 0, size)?;
        }
        let mapping = def::Mapping::new(&file, len, true)?;
        let file = share(file)?;
        commit_file(&file, &path)?;
        Ok(Self {
            mapping,
            name: name.to_owned(),
            file,
            owned: true,
        })
    }

    /// Opens what another program has made, for reading only if not `writable`. Pages that it has not touched are
    /// allocated now, so that no access has to find memory that is not there.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`]; [`io::ErrorKind::StorageFull`] if /dev/shm does not have the pages; what open(2)
    /// says.
    pub fn open(name: &str, writable: bool) -> io::Result<Self> {
        let path = path_of(name)?;
        // Allocation wants a descriptor that may write, whatever the mapping may.
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NOFOLLOW)
            .open(path)?;
        let size = file.metadata()?.len();
        let len = usize::try_from(size).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
        let size = i64::try_from(size).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
        if size > 0 {
            fallocate(&file, FallocateFlags::FALLOC_FL_KEEP_SIZE, 0, size)?;
        }
        let mapping = def::Mapping::new(&file, len, writable)?;
        Ok(Self {
            mapping,
            name: name.to_owned(),
            file: share(file)?,
            owned: false,
        })
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes of the memory.
    pub fn len(&self) -> usize {
        self.mapping.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every whole `T` of it, to read and write; others may do so at the same time. `None` if it is read-only.
    pub fn cells<T: Pod>(&self) -> Option<&[Cell<T>]> {
        self.mapping.cells()
    }

    /// Copies bytes from `offset` on.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn copy_to(&self, offset: usize, bytes: &mut [u8]) {
        self.mapping.copy_to(offset, bytes);
    }

    /// Lets the name stay when this value is gone: somebody else will take it away.
    pub fn keep_name(&mut self) {
        self.owned = false;
    }
}

impl Drop for NamedMapping {
    fn drop(&mut self) {
        // Only if it is still the same memory: the name may have been taken away and given anew.
        let ours = self.file.metadata().map(|file| (file.dev(), file.ino()));
        let Ok(path) = path_of(&self.name) else {
            return;
        };
        let named = std::fs::symlink_metadata(&path).map(|file| (file.dev(), file.ino()));
        if self.owned && ours.is_ok() && ours.ok() == named.ok() {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Takes away the names that begin with `prefix`, belong to this user, and that no program of numpush has open. A
/// program that has one open all the same keeps its memory; only the name goes.
///
/// # Errors
/// What reading /dev/shm says.
pub fn reap_names(prefix: &str) -> io::Result<Vec<String>> {
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
    if !file.metadata()?.is_file() || file.metadata()?.uid() != numpush_os::user() {
        return Ok(false);
    }
    let Ok(locked) = Flock::lock(file, FlockArg::LockExclusiveNonblock) else {
        return Ok(false);
    };
    // Between the open and the lock the name may have become another's.
    let (held, named) = (locked.metadata()?, std::fs::symlink_metadata(path)?);
    let same = (held.dev(), held.ino()) == (named.dev(), named.ino());
    if same {
        std::fs::remove_file(path)?;
    }
    Ok(same)
}

fn share(file: File) -> io::Result<Flock<File>> {
    Flock::lock(file, FlockArg::LockSharedNonblock).map_err(|(_, errno)| errno.into())
}

fn path_of(name: &str) -> io::Result<PathBuf> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn name(of: &str) -> String {
        format!("np.test-{of}-{}", std::process::id())
    }

    #[test]
    fn both_ends_see_the_same_cells() {
        let name = name("cells");
        let made = NamedMapping::create(&name, 4096).unwrap();
        assert_eq!(
            NamedMapping::create(&name, 4096).unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        let opened = NamedMapping::open(&name, true).unwrap();
        made.cells::<u32>().unwrap()[3].set(7);
        assert_eq!(opened.cells::<u32>().unwrap()[3].get(), 7);
        let read_only = NamedMapping::open(&name, false).unwrap();
        assert!(read_only.cells::<u32>().is_none());
        let mut word = [0; 4];
        read_only.copy_to(12, &mut word);
        assert_eq!(u32::from_ne_bytes(word), 7);
        drop(made);
        assert_eq!(
            NamedMapping::open(&name, true).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
    }

    #[test]
    fn only_names_that_nobody_has_open_are_reaped() {
        let name = name("reap");
        let mut made = NamedMapping::create(&name, 64).unwrap();
        made.keep_name();
        assert!(reap_names(&name).unwrap().is_empty());
        drop(made);
        assert_eq!(reap_names(&name).unwrap(), [name]);
    }

    #[test]
    fn impossible_names_and_sizes_are_errors() {
        for bad in ["", "a/b", "..", "/", "a\0b"] {
            assert_eq!(
                NamedMapping::create(bad, 64).unwrap_err().kind(),
                io::ErrorKind::InvalidInput,
                "{bad:?}"
            );
        }
        assert!(NamedMapping::create(&name("empty"), 0).is_err());
        assert!(NamedMapping::create(&name("huge"), 1 << 50).is_err());
    }
}
