use crate::model::buffer::Buffer;

/// Every buffer of a message begins at a multiple of this many bytes.
pub const ALIGNMENT: usize = 64;

/// Where received bytes go: a maker of writable regions.
///
/// Implemented by [`HeapAllocator`](crate::model::HeapAllocator); an arena of shared memory implements it so that a
/// payload goes from the socket straight to where worker processes see it.
///
/// A connection asks its allocator, and drops regions that were not filled, in the middle of its own work: neither may make a
/// call on that connection. What drops the last clone of a [`Buffer`] may. It may run on a thread of the library's, and all its
/// connections wait for it there: it must not wait for a peer.
///
/// ```
/// use numpush_message::{AllocError, Buffer, BufferAllocator, BufferMut, HeapAllocator};
///
/// /// Takes from the heap, up to a budget.
/// struct Budget {
///     heap: HeapAllocator,
///     left: usize,
/// }
///
/// impl BufferAllocator for Budget {
///     fn allocate(&mut self, len: usize) -> Result<Box<dyn BufferMut>, AllocError> {
///         self.left = self.left.checked_sub(len).ok_or(AllocError::NoMemory { len })?;
///         self.heap.allocate(len)
///     }
/// }
///
/// let mut budget = Budget { heap: HeapAllocator::new(), left: 100 };
/// let mut region = budget.allocate(64)?;
/// region.as_mut_slice().fill(7);
/// let buffer: Buffer = region.freeze();
/// assert_eq!(*buffer, [7; 64]);
/// assert!(budget.allocate(64).is_err());
/// # Ok::<_, AllocError>(())
/// ```
pub trait BufferAllocator: Send {
    /// Returns a region of `len` bytes that begins at a multiple of [`ALIGNMENT`]. Its contents do not matter.
    ///
    /// # Errors
    /// [`AllocError`] if there is no room. Nothing has been read of the payload then.
    fn allocate(&mut self, len: usize) -> Result<Box<dyn BufferMut>, AllocError>;

    /// Returns a region that is to have `len` bytes, for a length that a peer claims: a claim alone should cost nothing.
    /// Its bytes become writable as [`BufferMut::ensure`] asks for them. Default: as [`Self::allocate`], all at once.
    ///
    /// # Errors
    /// [`AllocError`] if there is no room.
    fn claim(&mut self, len: usize) -> Result<Box<dyn BufferMut>, AllocError> {
        self.allocate(len)
    }

    /// Returns a buffer of `len` bytes that begins with a copy of `bytes`, as much as fits, with zeros behind: for what is short and
    /// there whole. Default: a region of [`Self::allocate`], filled.
    ///
    /// # Errors
    /// [`AllocError`] if there is no room.
    fn copy_of(&mut self, bytes: &[u8], len: usize) -> Result<Buffer<'static>, AllocError> {
        let mut region = self.allocate(len)?;
        fill(region.as_mut_slice(), bytes);
        Ok(region.freeze())
    }

    /// Takes memory that somebody else has filled, instead of a copy: a mapped file, memory of the peer's, a frame of
    /// another library. Default: refuses, so that every payload lies in regions of this allocator.
    ///
    /// # Errors
    /// The buffer itself, if only the allocator's own memory will do. The transport then copies the bytes, or reads
    /// them anew, into a region.
    fn adopt(&mut self, buffer: Buffer<'static>) -> Result<Buffer<'static>, Buffer<'static>> {
        Err(buffer)
    }
}

/// Writes `bytes` to the front of `to`, as much as fits, and zeros behind.
pub(crate) fn fill(to: &mut [u8], bytes: &[u8]) {
    let count = bytes.len().min(to.len());
    let (to, gap) = to.split_at_mut(count);
    to.copy_from_slice(&bytes[..count]);
    gap.fill(0);
}

/// Writable bytes that become a [`Buffer`] once they are filled.
///
/// ```
/// use numpush_message::{AllocError, BufferAllocator, HeapAllocator};
///
/// // A peer claims a gigabyte and sends a thousand bytes of it.
/// let mut region = HeapAllocator::new().claim(1 << 30)?;
/// region.ensure(1000)?;
/// region.as_mut_slice()[..1000].fill(7);
/// # Ok::<_, AllocError>(())
/// ```
pub trait BufferMut: Send {
    /// Makes at least the first `len` bytes writable, and more of them where that saves calls. What was written stays.
    /// Default: does nothing, for regions whose bytes are all writable from the start.
    ///
    /// # Errors
    /// [`AllocError`] if there is no room for them now. The region stays as it is: ask again.
    fn ensure(&mut self, len: usize) -> Result<(), AllocError> {
        let _ = len;
        Ok(())
    }

    /// The bytes that are writable: all of the region, or as many as [`Self::ensure`] has made so.
    fn as_mut_slice(&mut self) -> &mut [u8];

    /// Ends the writing. Clones and slices of the buffer keep the region alive.
    ///
    /// # Panics
    /// May panic if [`Self::ensure`] has not made all bytes writable.
    fn freeze(self: Box<Self>) -> Buffer<'static>;
}

/// An allocator has no room.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AllocError {
    /// The system does not have the memory.
    #[error("no memory for {len} bytes")]
    NoMemory {
        /// Bytes that were asked for.
        len: usize,
    },
    /// The system refused, but not for lack of memory: too many open files (EMFILE), for example.
    #[error("the system refused {len} bytes: {}", std::io::Error::from_raw_os_error(*.code))]
    System {
        /// Bytes that were asked for.
        len: usize,
        /// The number of the system's error, errno(3).
        code: i32,
    },
    /// More than the allocator has even when it is empty: no later call can succeed.
    #[error("{len} bytes are more than the {max} that there is room for at most")]
    TooLarge {
        /// Bytes that were asked for.
        len: usize,
        /// Most bytes that the allocator hands out.
        max: usize,
    },
    /// The allocator's own budget is used up.
    #[error("{len} bytes are over the budget of {budget}, of which {used} are in use")]
    Budget {
        /// Bytes that were asked for.
        len: usize,
        /// Bytes in use.
        used: usize,
        /// Most bytes the allocator hands out.
        budget: usize,
    },
}

impl AllocError {
    /// True if the same bytes will never be had, however long one waits.
    pub fn is_permanent(&self) -> bool {
        matches!(self, Self::TooLarge { .. })
    }
}
