//! Shared memory with a name, for programs that open it by name;
//! [shm_overview(7)](https://man7.org/linux/man-pages/man7/shm_overview.7.html).

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use bytemuck::Pod;
use nix::fcntl::{FallocateFlags, Flock, FlockArg, fallocate};
use numpush_os::{FileId, commit_file, size_to_allocate, user};

use crate::cell::SharedCell;

/// Where the kernel keeps shared memory with names.
const FOLDER: &str = "/dev/shm";

mod def {
    use super::{File, Pod, SharedCell, io};
    use crate::cell::copy_shared;
    use memmap2::{MmapOptions, MmapRaw};

    /// Named memory, mapped.
    ///
    /// # Invariants
    /// 1. `mapping` is mapped for reading (and writing, if `writable`) while `self` lives. Every page was allocated when it
    ///    was mapped.
    /// 2. The bytes are only accessed by atomics: others may write them at any time.
    ///
    /// Named memory cannot be sealed: a program of the same user that truncates it makes the next access a SIGBUS, which
    /// ends the process and corrupts nothing. No program that only uses the POSIX calls does so after it made the memory.
    #[derive(Debug)]
    pub(super) struct Mapping {
        mapping: MmapRaw,
        writable: bool,
    }

    impl Mapping {
        pub(super) fn new(file: &File, len: usize, writable: bool) -> io::Result<Self> {
            if len == 0 {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            let mut options = MmapOptions::new();
            options.len(len);
            let mapping = if writable {
                options.map_raw(file)
            } else {
                options.map_raw_read_only(file)
            }?;
            Ok(Self { mapping, writable })
        }

        pub(super) fn len(&self) -> usize {
            self.mapping.len()
        }

        /// Every whole `T` of it.
        pub(super) fn cells<T: Pod>(&self) -> Option<&[SharedCell<T>]> {
            const { assert!(align_of::<T>() <= 4096, "more than a page's alignment") };
            let count = self
                .len()
                .checked_div(size_of::<T>())
                .filter(|_| self.writable)?;
            let first = self.mapping.as_mut_ptr().cast::<SharedCell<T>>();
            // SAFETY: inside the mapping (1), which begins on a page; any bytes are a `T`; cells access by atomics (2).
            Some(unsafe { std::slice::from_raw_parts(first, count) })
        }

        /// Copies bytes from `offset` on. Of what others write meanwhile some words may be old and others new.
        pub(super) fn copy_to(&self, offset: usize, bytes: &mut [u8]) {
            let end = offset.checked_add(bytes.len());
            assert!(end.is_some_and(|end| end <= self.len()));
            // SAFETY: inside the mapping, by the check above.
            let from = unsafe { self.mapping.as_ptr().add(offset) };
            // SAFETY: as above; readable (1), and only accessed by atomics (2).
            unsafe { copy_shared(from, bytes) };
        }
    }
}

/// Memory with a name, which any program of this user can open: for example Python's `multiprocessing.shared_memory`, or
/// the crate `shared_memory`.
///
/// Nothing orders the accesses of those who have it open, and nothing keeps one of them from truncating it: the next access
/// then ends this process with a SIGBUS. What is shared between programs of numpush is better shared without a name.
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

    /// Every whole `T` of it, to read and write, as others may do at the same time. `None` if it is read-only, or if a `T`
    /// has no bytes.
    pub fn cells<T: Pod>(&self) -> Option<&[SharedCell<T>]> {
        self.mapping.cells()
    }

    /// Copies bytes from `offset` on. If others write them at the same time, some words of 8 bytes may be old and others new.
    ///
    /// # Panics
    /// If the memory ends first.
    pub fn copy_to(&self, offset: usize, bytes: &mut [u8]) {
        self.mapping.copy_to(offset, bytes);
    }

    /// Keeps the name when this value is dropped: another program will remove it.
    pub fn keep_name(&mut self) {
        self.owned = false;
    }
}

impl Drop for NamedMapping {
    fn drop(&mut self) {
        // Only if it is still the same memory: the name may have been removed and given anew.
        let (Ok(ours), Ok(path)) = (FileId::of(&*self.file), path_of(&self.name)) else {
            return;
        };
        if self.owned && FileId::of_path(&path).is_ok_and(|named| named == ours) {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Removes the names that begin with `prefix`, belong to this user, and that no program of numpush has open. Returns them
/// in order. A program of another kind that has one open keeps its memory; only the name goes.
///
/// # Errors
/// What reading /dev/shm reports.
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
