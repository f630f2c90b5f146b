use crate::model::buffer::Buffer;

/// Every buffer of a message begins at a multiple of this many bytes.
pub const ALIGNMENT: usize = 64;

/// Where received bytes go: a maker of writable regions.
///
/// Implemented by [`HeapAllocator`](crate::model::HeapAllocator); an arena of shared memory implements it so that a
/// payload goes from the socket straight to where worker processes see it.
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

/// Writable bytes that become a [`Buffer`] once they are filled.
pub trait BufferMut: Send {
    /// All bytes of the region, for writing.
    fn as_mut_slice(&mut self) -> &mut [u8];

    /// Ends the writing. Clones and slices of the buffer keep the region alive.
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
