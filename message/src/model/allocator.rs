use bytes::Bytes;

use crate::model::buffer::Buffer;

/// Every buffer of a message begins at a multiple of this many bytes.
pub const ALIGNMENT: usize = 64;

/// Where received bytes land: a maker of writable regions.
///
/// Implemented by [`HeapAllocator`](crate::HeapAllocator); an arena of shared memory implements it so that a payload goes from the socket straight
/// to where worker processes see it.
pub trait BufferAllocator: Send {
    /// Gives a region of `len` bytes that begins at a multiple of [`ALIGNMENT`]. Its contents do not matter.
    ///
    /// # Errors
    /// [`AllocError`] if there is no room; the sender's claim costs nothing then.
    fn allocate(&mut self, len: usize) -> Result<Box<dyn BufferMut>, AllocError>;

    /// Takes memory that somebody else has filled, instead of a copy of it, if that will do here. It never does unless
    /// the allocator says so: an arena wants its bytes where its workers see them.
    fn adopt(&mut self, bytes: &Bytes) -> Option<Buffer<'static>> {
        let _ = bytes;
        None
    }

    /// True if every payload must lie in this allocator, even where a transport could lend memory of the peer's without a
    /// copy: an arena, whose workers see nothing else.
    fn insists(&self) -> bool {
        false
    }
}

/// Writable bytes that become a [`Buffer`] once they are filled.
pub trait BufferMut: Send {
    /// All bytes of the region.
    fn as_mut_slice(&mut self) -> &mut [u8];

    /// Ends the writing. Clones and slices of the buffer keep the region alive.
    fn freeze(self: Box<Self>) -> Buffer<'static>;
}

/// An allocator has no room.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AllocError {
    /// The system refused.
    #[error("no memory for {len} bytes")]
    NoMemory {
        /// Bytes that were asked for.
        len: usize,
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
