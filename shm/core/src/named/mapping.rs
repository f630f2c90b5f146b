//! The mapping of named memory: one for each memory and way to use it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::sync::{Arc, Weak};

use bytemuck::Pod;
use memmap2::{MmapOptions, MmapRaw};
use numpush_os::{FileId, GlobalMutex, failpoint};

use crate::cell::{SharedCell, copy_shared};

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

/// Every mapping of this process, by its memory and whether it can be written: a memory has one address here for each.
static MAPPED: GlobalMutex<Mapped> = GlobalMutex::new(BTreeMap::new());

type Mapped = BTreeMap<(FileId, bool), Weak<Mapping>>;

impl Mapping {
    /// The mapping of `file`, which has `len` bytes.
    pub(super) fn of(file: &File, len: usize, writable: bool) -> io::Result<Arc<Self>> {
        let id = (FileId::of(file)?, writable);
        let mut mapped = MAPPED.lock();
        let known = mapped.get(&id).and_then(Weak::upgrade);
        // Its maker may have made it longer since; what is mapped of it already stays where it is.
        if let Some(known) = known.filter(|known| known.len() == len) {
            return Ok(known);
        }
        let mapping = Arc::new(Self::new(file, len, writable)?);
        mapped.retain(|_, mapping| mapping.strong_count() > 0);
        mapped.insert(id, Arc::downgrade(&mapping));
        Ok(mapping)
    }

    fn new(file: &File, len: usize, writable: bool) -> io::Result<Self> {
        if len == 0 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut options = MmapOptions::new();
        options.len(len);
        failpoint("mmap")?;
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
