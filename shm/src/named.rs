use std::io;

use bytemuck::Pod;
use ndarray::{ArrayView, Dimension, IntoDimension};
use numpush_message::Element;
use numpush_shm_core::{NamedMapping, SharedCell, reap_names};

use crate::array::byte_len;
use crate::error::Error;

/// What the names of this library begin with, so that [`reap`] finds them.
const PREFIX: &str = "np.";

/// Shared memory with a name, for programs that know no handle: Python's
/// `multiprocessing.shared_memory.SharedMemory(name)` opens it, the Rust crate `shared_memory` does, and the reverse.
///
/// It has no lock: every process that has it open reads and writes it at any time, so its elements are
/// [`SharedCell`]s. Nor does the kernel keep another program of this user from truncating it, which would end this
/// process with a SIGBUS at its next access; a program that uses it as shared memory does not do that. Between programs
/// of numpush, share a value by its [`Handle`](crate::Handle) instead.
///
/// Python removes the name when its process ends, although it only opened the memory. `track=False` prevents that from
/// Python 3.13 on. Before, inform it after the opening that the name is not its own:
/// `multiprocessing.resource_tracker.unregister("/" + name, "shared_memory")`.
///
/// ```
/// use numpush_shm::NamedMemory;
///
/// let name = format!("example-{}", std::process::id());
/// let memory = NamedMemory::create(&name, 4096)?;
/// if let Some(array) = memory.array::<f64, _>((2, 3))? {
///     array[[1, 2]].set(7.0);
/// }
/// // In Python: np.ndarray((2, 3), "f8", SharedMemory(f"np.{name}", track=False).buf)
/// let same = NamedMemory::open_read_only(&format!("np.{name}"))?;
/// let mut bytes = [0; 8];
/// same.copy_to(5 * 8, &mut bytes)?;
/// assert_eq!(f64::from_ne_bytes(bytes), 7.0);
/// # Ok::<(), numpush_shm::Error>(())
/// ```
#[derive(Debug)]
pub struct NamedMemory {
    memory: NamedMapping,
}

impl NamedMemory {
    /// Makes `len` bytes of zeros with the name `np.NAME`. The drop of the value removes the name; [`reap`] removes it
    /// after a process that was killed.
    ///
    /// # Errors
    /// [`Error::Name`] if the name is taken or cannot be one; [`Error::Io`] if /dev/shm does not have the room.
    pub fn create(name: &str, len: usize) -> Result<Self, Error> {
        let full = format!("{PREFIX}{name}");
        let made = NamedMapping::create(&full, len);
        Ok(Self {
            memory: made.map_err(|error| explain(error, full, "make named shared memory"))?,
        })
    }

    /// Opens the memory with this name, `np.` included if it has that.
    ///
    /// # Errors
    /// [`Error::Name`] if there is none; [`Error::Io`] if the memory has pages that nobody allocated and /dev/shm has no
    /// room for them.
    pub fn open(name: &str) -> Result<Self, Error> {
        let opened = NamedMapping::open(name, true);
        Ok(Self {
            memory: opened
                .map_err(|error| explain(error, name.into(), "open named shared memory"))?,
        })
    }

    /// As [`Self::open`], but only to read: the kernel refuses every write through it.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_read_only(name: &str) -> Result<Self, Error> {
        let opened = NamedMapping::open(name, false);
        Ok(Self {
            memory: opened
                .map_err(|error| explain(error, name.into(), "open named shared memory"))?,
        })
    }

    /// The name by which other programs open it.
    pub fn name(&self) -> &str {
        self.memory.name()
    }

    /// Bytes of the memory. Python rounds them up to whole pages.
    pub fn len(&self) -> usize {
        self.memory.len()
    }

    /// True if it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.memory.is_empty()
    }

    /// The memory as elements, without the bytes after the last whole one; `None` if it was opened read-only.
    pub fn cells<T: Pod>(&self) -> Option<&[SharedCell<T>]> {
        self.memory.cells()
    }

    /// The first elements as an array of `shape` in C order; `None` if it was opened read-only.
    ///
    /// # Errors
    /// [`Error::Shape`] if the shape is too large for an address space; [`Error::Range`] if the memory is too short.
    pub fn array<T: Element + Pod, D: Dimension>(
        &self,
        shape: impl IntoDimension<Dim = D>,
    ) -> Result<Option<ArrayView<'_, SharedCell<T>, D>>, Error> {
        let shape = shape.into_dimension();
        let bytes = byte_len::<T>(shape.slice())?;
        let too_short = || Error::Range {
            what: "bytes",
            range: 0..bytes,
            len: self.len(),
        };
        let Some(cells) = self.cells::<T>() else {
            return Ok(None);
        };
        let elements = cells.get(..shape.size()).ok_or_else(too_short)?;
        ArrayView::from_shape(shape, elements)
            .map(Some)
            .map_err(|_| too_short())
    }

    /// Fills `bytes` with a copy of those from `offset` on.
    ///
    /// # Errors
    /// [`Error::Range`] if the memory ends before.
    pub fn copy_to(&self, offset: usize, bytes: &mut [u8]) -> Result<(), Error> {
        let end = offset
            .checked_add(bytes.len())
            .filter(|&end| end <= self.len());
        let range = || offset..offset.saturating_add(bytes.len());
        end.ok_or_else(|| Error::Range {
            what: "bytes",
            range: range(),
            len: self.len(),
        })?;
        self.memory.copy_to(offset, bytes);
        Ok(())
    }

    /// Keeps the name when this value is dropped.
    pub fn keep_name(&mut self) {
        self.memory.keep_name();
    }
}

fn explain(error: io::Error, name: String, operation: &'static str) -> Error {
    match error.kind() {
        io::ErrorKind::AlreadyExists => Error::Name {
            name,
            why: "the name is taken",
        },
        io::ErrorKind::NotFound => Error::Name {
            name,
            why: "no memory has that name",
        },
        io::ErrorKind::InvalidInput => Error::Name {
            name,
            why: "a name has no slash, and memory has at least one byte",
        },
        _ => Error::Io {
            operation,
            source: error,
        },
    }
}

/// Removes the names that killed processes left (`np.…` in /dev/shm, of this user), and returns them.
///
/// # Errors
/// [`Error::Io`] if /dev/shm cannot be read.
pub fn reap() -> Result<Vec<String>, Error> {
    reap_names(PREFIX).map_err(Error::io("read /dev/shm"))
}
