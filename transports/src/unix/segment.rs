//! Memory that is filled here and read by other processes.

use std::io;

use numpush_message::{Backing, Buffer, Stability};
use numpush_os::Memfd;

use crate::error::Error;

/// Memory that is filled once, sealed, and then passed to other processes without a copy.
///
/// ```
/// # use numpush_transports::unix::SealedBufferMut;
/// let mut memory = SealedBufferMut::new(1 << 20)?;
/// memory.as_mut_slice().fill(7);
/// let buffer = memory.seal()?; // a `Buffer` whose descriptor a unix connection passes on
/// assert_eq!(buffer[0], 7);
/// # Ok::<(), numpush_transports::unix::SealedBufferError>(())
/// ```
#[derive(Debug)]
pub struct SealedBufferMut(Memfd);

/// Memory could not be had or sealed.
#[derive(Debug, thiserror::Error)]
#[error("cannot make or seal memory of {len} bytes")]
pub struct SealedBufferError {
    /// Bytes of it.
    pub len: usize,
    /// Why.
    pub source: io::Error,
}

impl SealedBufferMut {
    /// Allocates `len` zero bytes.
    ///
    /// # Errors
    /// [`SealedBufferError`] if memory or descriptors are short.
    pub fn new(len: usize) -> Result<Self, SealedBufferError> {
        Memfd::new(len)
            .map(Self)
            .map_err(|source| SealedBufferError { len, source })
    }

    /// The bytes, for writing.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        self.0.as_mut_slice()
    }

    /// Ends the writing forever and returns the bytes.
    ///
    /// # Errors
    /// [`SealedBufferError`] if the kernel cannot map them again.
    pub fn seal(self) -> Result<Buffer<'static>, SealedBufferError> {
        let len = self.0.len();
        let (file, mapping) = self
            .0
            .seal()
            .map_err(|source| SealedBufferError { len, source })?;
        Ok(Buffer::from_owner(mapping).with_backing(Backing {
            file,
            offset: 0,
            stability: Stability::Sealed,
        }))
    }
}

impl From<SealedBufferError> for Error {
    fn from(error: SealedBufferError) -> Self {
        Self::Value(Box::new(error))
    }
}

/// A length or an offset from the wire. One that no memory here can have becomes the largest, which no check passes.
pub(super) fn to_usize(len: u64) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}
