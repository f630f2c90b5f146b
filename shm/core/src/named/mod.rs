//! Shared memory with a name, for programs that open it by name;
//! [shm_overview(7)](https://man7.org/linux/man-pages/man7/shm_overview.7.html).

mod error;
mod mapping;
mod name;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;

use bytemuck::Pod;
use ndarray::{ArrayView, Dimension, IntoDimension};
use nix::fcntl::{FallocateFlags, fallocate};
use numpush_os::{
    FileId, LockedFile, commit_file, failpoint, lock_shared, remove_name, retry, size_to_allocate,
};

pub use error::NamedError;
use mapping::Mapping;
pub use name::reap_names;
use name::{FOLDER, PREFIX, path_of};

use crate::cell::SharedCell;

/// Shared memory with a name, for programs that know no handle: Python's
/// `multiprocessing.shared_memory.SharedMemory(name)` opens it, the Rust crate `shared_memory` does, and the reverse.
///
/// It has no lock: every process that has it open reads and writes it at any time, so its elements are
/// [`SharedCell`]s. Nor does the kernel keep another program of this user from truncating it, which would end this
/// process with a SIGBUS at its next access; a program that uses it as shared memory does not do that. Between programs
/// of numpush, share a value by its handle instead.
///
/// Python removes the name when its process ends, although it only opened the memory. `track=False` prevents that from
/// Python 3.13 on. Before, inform it after the opening that the name is not its own:
/// `multiprocessing.resource_tracker.unregister("/" + name, "shared_memory")`.
///
/// ```
/// use numpush_shm_core::NamedMemory;
///
/// let name = format!("example-{}", std::process::id());
/// let memory = NamedMemory::create(&name, 4096)?;
/// if let Some(array) = memory.array::<f64, _>((2, 3))? {
///     array[[1, 2]].set(7.0);
/// }
/// // In Python: np.ndarray((2, 3), "f8", SharedMemory(f"np.{name}", track=False).buf)
/// // SAFETY: it was just made, and nobody truncates it.
/// let same = unsafe { NamedMemory::open_read_only(&format!("np.{name}")) }?;
/// let mut bytes = [0; 8];
/// same.copy_to(5 * 8, &mut bytes)?;
/// assert_eq!(f64::from_ne_bytes(bytes), 7.0);
/// # Ok::<(), numpush_shm_core::NamedError>(())
/// ```
#[derive(Debug)]
pub struct NamedMemory {
    mapping: Arc<Mapping>,
    name: String,
    /// Locked while somebody has the memory open, so that its name is not reaped.
    _file: LockedFile,
    /// The memory whose name goes when this does.
    owned: Option<FileId>,
}

impl NamedMemory {
    /// Makes `len` bytes of zeros with the name `np.NAME`. The drop of the value removes the name; [`reap_names`] removes
    /// it after a process that was killed.
    ///
    /// It is born whole: a name is given to it only when its pages are allocated and it is locked (open(2), O_TMPFILE;
    /// linkat(2); flock(2)).
    ///
    /// It is safe, although [`Self::open`] is not. The file is new, has its whole size, and only this user can open it. A
    /// program that truncates it ends this process by a signal, as it could by kill(2); it never makes an access read or
    /// write other memory. Who opens a name does not know its maker, for whom truncating may be in order.
    ///
    /// # Errors
    /// [`NamedError::Name`] if the name is taken or cannot be one; [`NamedError::Io`] if /dev/shm does not have the room.
    pub fn create(name: &str, len: usize) -> Result<Self, NamedError> {
        let name = format!("{PREFIX}{name}");
        let made = make(&name, len);
        let (mapping, file, id) =
            made.map_err(|error| NamedError::of(error, &name, "make named shared memory"))?;
        Ok(Self {
            mapping,
            name,
            _file: file,
            owned: Some(id),
        })
    }

    /// Opens the memory with this name, `np.` included if it has that. Pages that its maker has not touched are allocated
    /// now, so that no access has to find memory that is not there.
    ///
    /// # Safety
    /// No program truncates the memory while this process has it open: the next access would be a signal. In this process
    /// nothing but `NamedMemory` accesses it.
    ///
    /// # Errors
    /// [`NamedError::Name`] if there is none; [`NamedError::Io`] if the memory has pages that nobody allocated and /dev/shm
    /// has no room for them.
    pub unsafe fn open(name: &str) -> Result<Self, NamedError> {
        Self::open_as(name, true)
    }

    /// As [`Self::open`], but only to read: the kernel refuses every write through it.
    ///
    /// # Safety
    /// As for [`Self::open`].
    ///
    /// # Errors
    /// As [`Self::open`].
    pub unsafe fn open_read_only(name: &str) -> Result<Self, NamedError> {
        Self::open_as(name, false)
    }

    fn open_as(name: &str, writable: bool) -> Result<Self, NamedError> {
        let opened = find(name, writable);
        let (mapping, file) =
            opened.map_err(|error| NamedError::of(error, name, "open named shared memory"))?;
        Ok(Self {
            mapping,
            name: name.to_owned(),
            _file: file,
            owned: None,
        })
    }

    /// The name by which other programs open it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes of the memory. Python rounds them up to whole pages.
    pub fn len(&self) -> usize {
        self.mapping.len()
    }

    /// True if it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The memory as elements, without the bytes after the last whole one; `None` if it was opened read-only, or if a `T`
    /// has no bytes.
    pub fn cells<T: Pod>(&self) -> Option<&[SharedCell<T>]> {
        self.mapping.cells()
    }

    /// The first elements as an array of `shape` in C order; `None` if it was opened read-only.
    ///
    /// # Errors
    /// [`NamedError::Range`] if the memory is too short.
    pub fn array<T: Pod, D: Dimension>(
        &self,
        shape: impl IntoDimension<Dim = D>,
    ) -> Result<Option<ArrayView<'_, SharedCell<T>, D>>, NamedError> {
        let shape = shape.into_dimension();
        let Some(cells) = self.cells::<T>() else {
            return Ok(None);
        };
        let elements = shape
            .size_checked()
            .and_then(|count| cells.get(..count))
            .ok_or_else(|| {
                let bytes = shape
                    .slice()
                    .iter()
                    .fold(size_of::<T>(), |bytes, &len| bytes.saturating_mul(len));
                self.out_of_range(0, bytes)
            })?;
        ArrayView::from_shape(shape, elements)
            .map(Some)
            .map_err(|_| self.out_of_range(0, usize::MAX))
    }

    /// Fills `bytes` with a copy of those from `offset` on. If others write them at the same time, some words of 8 bytes
    /// may be old and others new.
    ///
    /// # Errors
    /// [`NamedError::Range`] if the memory ends before.
    pub fn copy_to(&self, offset: usize, bytes: &mut [u8]) -> Result<(), NamedError> {
        let end = offset
            .checked_add(bytes.len())
            .filter(|&end| end <= self.len());
        if end.is_none() {
            return Err(self.out_of_range(offset, bytes.len()));
        }
        self.mapping.copy_to(offset, bytes);
        Ok(())
    }

    /// Keeps the name when this value is dropped: another program will remove it.
    pub fn keep_name(&mut self) {
        self.owned = None;
    }

    fn out_of_range(&self, start: usize, len: usize) -> NamedError {
        NamedError::Range {
            range: start..start.saturating_add(len),
            len: self.len(),
        }
    }
}

fn make(name: &str, len: usize) -> io::Result<(Arc<Mapping>, LockedFile, FileId)> {
    let path = path_of(name)?;
    let size = size_to_allocate(len)?;
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .custom_flags(libc::O_TMPFILE | libc::O_CLOEXEC)
        .mode(0o600);
    failpoint("open")?;
    let file = options.open(FOLDER)?;
    allocate(&file, FallocateFlags::empty(), size)?;
    let id = FileId::of(&file)?;
    let mapping = Mapping::of(&file, len, true)?;
    let file = lock_shared(file)?;
    commit_file(&file, &path)?;
    Ok((mapping, file, id))
}

fn find(name: &str, writable: bool) -> io::Result<(Arc<Mapping>, LockedFile)> {
    let path = path_of(name)?;
    failpoint("open")?;
    // Allocation wants a descriptor that may write, whatever the mapping may.
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)?;
    let invalid = |_| io::Error::from(io::ErrorKind::InvalidData);
    failpoint("fstat")?;
    let size = file.metadata()?.len();
    let len = usize::try_from(size).map_err(invalid)?;
    let size = i64::try_from(size).map_err(invalid)?;
    allocate(&file, FallocateFlags::FALLOC_FL_KEEP_SIZE, size)?;
    let mapping = Mapping::of(&file, len, writable)?;
    Ok((mapping, lock_shared(file)?))
}

fn allocate(file: &File, flags: FallocateFlags, size: i64) -> io::Result<()> {
    if size == 0 {
        return Ok(());
    }
    retry(|| {
        failpoint("fallocate")?;
        Ok(fallocate(file, flags, 0, size)?)
    })
}

impl Drop for NamedMemory {
    fn drop(&mut self) {
        let (Some(ours), Ok(path)) = (self.owned, path_of(&self.name)) else {
            return;
        };
        // Only if it is still the same memory: the name may have been removed and given anew. Once more if the kernel had
        // no memory for the question: the name would stay.
        let named = FileId::of_path(&path).or_else(|_| FileId::of_path(&path));
        if named.is_ok_and(|named| named == ours) {
            let _ = remove_name(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::name::reap_from;
    use super::*;

    fn name(of: &str) -> String {
        format!("test-{of}-{}", std::process::id())
    }

    fn open(name: &str) -> Result<NamedMemory, NamedError> {
        // SAFETY: the tests truncate nothing.
        unsafe { NamedMemory::open(name) }
    }

    #[test]
    fn both_ends_see_the_same_cells() {
        let name = name("cells");
        let made = NamedMemory::create(&name, 4096).unwrap();
        let taken = NamedMemory::create(&name, 4096).unwrap_err();
        assert!(matches!(taken, NamedError::Name { .. }), "{taken}");
        let full = made.name().to_owned();
        let opened = open(&full).unwrap();
        made.cells::<u32>().unwrap()[3].set(7);
        assert_eq!(opened.cells::<u32>().unwrap()[3].get(), 7);
        // SAFETY: nobody truncates it.
        let read_only = unsafe { NamedMemory::open_read_only(&full) }.unwrap();
        assert!(read_only.cells::<u32>().is_none());
        let mut word = [0; 4];
        read_only.copy_to(12, &mut word).unwrap();
        assert_eq!(u32::from_ne_bytes(word), 7);
        assert!(read_only.copy_to(4093, &mut word).is_err());
        drop(made);
        assert!(matches!(open(&full), Err(NamedError::Name { .. })));
    }

    #[test]
    fn a_memory_is_mapped_once() {
        let made = NamedMemory::create(&name("once"), 4096).unwrap();
        let opened = open(made.name()).unwrap();
        let address = |memory: &NamedMemory| memory.cells::<u8>().unwrap().as_ptr();
        assert_eq!(address(&made), address(&opened));
    }

    /// Two threads that count in one cell lose counts, and nothing else: each sees only what one of them has written.
    #[test]
    fn two_threads_write_one_cell() {
        let made = NamedMemory::create(&name("race"), 4096).unwrap();
        let opened = open(made.name()).unwrap();
        let count = |memory: &NamedMemory| {
            let cell = &memory.cells::<u64>().unwrap()[0];
            (0..10_000).for_each(|_| cell.set(cell.get() + 1));
        };
        std::thread::scope(|scope| {
            scope.spawn(|| count(&opened));
            count(&made);
        });
        let sum = made.cells::<u64>().unwrap()[0].get();
        assert!((2..=20_000).contains(&sum), "{sum}");
    }

    #[test]
    fn an_array_is_no_longer_than_the_memory() {
        let made = NamedMemory::create(&name("array"), 4096).unwrap();
        assert!(made.array::<f64, _>((2, 256)).unwrap().is_some());
        for shape in [(2, 257), (usize::MAX, 2), (1 << 62, 4)] {
            let error = made.array::<f64, _>(shape).unwrap_err();
            assert!(matches!(error, NamedError::Range { len: 4096, .. }));
        }
    }

    #[test]
    fn only_names_that_nobody_has_open_are_reaped() {
        let mut made = NamedMemory::create(&name("reap"), 64).unwrap();
        let full = made.name().to_owned();
        made.keep_name();
        assert!(reap_from(&full).unwrap().is_empty());
        drop(made);
        assert_eq!(reap_from(&full).unwrap(), [full]);
    }

    #[test]
    fn impossible_names_and_sizes_are_errors() {
        for bad in ["", "a/b", "..", "/", "a\0b"] {
            assert!(matches!(open(bad), Err(NamedError::Name { .. })), "{bad:?}");
        }
        for bad in ["a/b", "a\0b"] {
            assert!(NamedMemory::create(bad, 64).is_err(), "{bad:?}");
        }
        assert!(NamedMemory::create(&name("empty"), 0).is_err());
        assert!(NamedMemory::create(&name("huge"), 1 << 50).is_err());
    }
}
