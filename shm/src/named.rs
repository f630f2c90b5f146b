use std::cell::Cell;
use std::io;

use bytemuck::Pod;
use ndarray::{ArrayView, Dimension, IntoDimension};
use numpush_message::Element;
use numpush_shm_core::{NamedMapping, reap_names};

use crate::array::byte_len;
use crate::error::Error;

/// What the names of ours begin with, so that a reaper knows them.
const PREFIX: &str = "np.";

/// A segment with a name, for programs that know no handle: Python's
/// `multiprocessing.shared_memory.SharedMemory(name)` opens it, and the other way round.
///
/// It has no lock: whoever has it open reads and writes it at any time, and so its elements are cells. Nor can the
/// kernel keep another program of this user from truncating it, which would end this process at the next access; a
/// program that uses it as shared memory does not. Between programs of numpush share a value by its
/// [`Handle`](crate::Handle) instead.
#[derive(Debug)]
pub struct NamedMemory {
    memory: NamedMapping,
}

impl NamedMemory {
    /// Makes `len` bytes of zeros called `np.NAME`. The name is gone with the value; [`reap`] takes it away if the
    /// process is killed first.
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

    /// Opens the memory called `name`, exactly as its maker calls it.
    ///
    /// # Errors
    /// [`Error::Name`] if there is none; [`Error::Io`] if /dev/shm does not have the pages it promises.
    pub fn open(name: &str) -> Result<Self, Error> {
        let opened = NamedMapping::open(name, true);
        Ok(Self {
            memory: opened
                .map_err(|error| explain(error, name.into(), "open named shared memory"))?,
        })
    }

    /// As [`Self::open`], but the kernel lets nobody write through it.
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

    /// Bytes of the segment. Python rounds them up to whole pages.
    pub fn len(&self) -> usize {
        self.memory.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.memory.is_empty()
    }

    /// Every whole `T` of it; `None` if it was opened read-only.
    pub fn cells<T: Pod>(&self) -> Option<&[Cell<T>]> {
        self.memory.cells()
    }

    /// The first elements as an array of `shape` in C order; `None` if it was opened read-only.
    ///
    /// # Errors
    /// [`Error::Shape`] if the shape overflows, [`Error::Range`] if the segment is too short.
    pub fn array<T: Element + Pod, D: Dimension>(
        &self,
        shape: impl IntoDimension<Dim = D>,
    ) -> Result<Option<ArrayView<'_, Cell<T>, D>>, Error> {
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

    /// Copies bytes from `offset` on.
    ///
    /// # Errors
    /// [`Error::Range`] if there are not so many.
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

    /// Lets the name stay when this value is gone.
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
            why: "there is none of that name",
        },
        io::ErrorKind::InvalidInput => Error::Name {
            name,
            why: "a name has no slash, and memory at least a byte",
        },
        _ => Error::Io {
            operation,
            source: error,
        },
    }
}

/// Takes away the names (`np.…` in /dev/shm, of this user) that killed processes left behind, and gives them.
///
/// # Errors
/// [`Error::Io`] if /dev/shm cannot be read.
pub fn reap() -> Result<Vec<String>, Error> {
    reap_names(PREFIX).map_err(Error::io("read /dev/shm"))
}
