use std::fmt;
use std::ops::{Deref, Range};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use bytes::Bytes;

/// A run of bytes that belongs to a message: shared and reference counted, or borrowed for the length of a send.
///
/// Cloning and slicing are O(1) and never copy. A buffer may know the file or memory descriptor its bytes lie in (its
/// [`Backing`]); a transport uses that to pass the descriptor or to call sendfile(2) instead of touching the bytes.
#[derive(Clone)]
pub struct Buffer<'a> {
    bytes: Repr<'a>,
    backing: Option<Backing>,
}

#[derive(Clone)]
enum Repr<'a> {
    Shared(Bytes),
    Borrowed(&'a [u8]),
}

/// The descriptor behind a buffer's bytes, and where in it they begin.
#[derive(Clone, Debug)]
pub struct Backing {
    /// The file or memory descriptor.
    pub file: Arc<OwnedFd>,
    /// Byte offset of the buffer's first byte in `file`.
    pub offset: u64,
    /// What may happen to the bytes while somebody else reads them.
    pub stability: Stability,
}

/// What may happen to the bytes behind a descriptor.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stability {
    /// Sealed against every write and every change of size: the bytes never change.
    Sealed,
    /// Sealed against changes of size; its owner writes again once the last clone of the buffer is gone.
    Held,
    /// A plain file: its bytes stay only as long as nobody writes or truncates it.
    File,
}

impl<'a> Buffer<'a> {
    /// Borrows `bytes`: nothing is copied, and the message cannot outlive them.
    pub fn borrowed(bytes: &'a [u8]) -> Self {
        Self {
            bytes: Repr::Borrowed(bytes),
            backing: None,
        }
    }

    /// Copies `bytes` to the heap.
    pub fn copy_of(bytes: &[u8]) -> Buffer<'static> {
        Bytes::copy_from_slice(bytes).into()
    }

    /// Takes any owner of bytes without copying them.
    pub fn from_owner<T: AsRef<[u8]> + Send + 'static>(owner: T) -> Buffer<'static> {
        Bytes::from_owner(owner).into()
    }

    /// Says in which descriptor the bytes lie.
    #[must_use]
    pub fn with_backing(mut self, backing: Backing) -> Self {
        self.backing = Some(backing);
        self
    }

    /// The descriptor behind the bytes, if they have one.
    pub fn backing(&self) -> Option<&Backing> {
        self.backing.as_ref()
    }

    /// The bytes of `range`, sharing this buffer's owner and its backing.
    ///
    /// # Panics
    /// When `range` reaches outside the buffer, as slicing does.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Self {
        let backing = self.backing.as_ref().map(|b| Backing {
            offset: b.offset + range.start as u64,
            ..b.clone()
        });
        let bytes = match &self.bytes {
            Repr::Shared(bytes) => Repr::Shared(bytes.slice(range)),
            Repr::Borrowed(bytes) => Repr::Borrowed(&bytes[range]),
        };
        Self { bytes, backing }
    }

    /// True if the bytes are borrowed, so that they cannot be handed over, only written or copied.
    pub fn is_borrowed(&self) -> bool {
        matches!(self.bytes, Repr::Borrowed(_))
    }

    /// The same bytes, owned: O(1) if they are shared already, else copied to the heap.
    pub fn into_owned_or_copy(self) -> Buffer<'static> {
        match self.bytes {
            Repr::Shared(bytes) => Buffer {
                bytes: Repr::Shared(bytes),
                backing: self.backing,
            },
            Repr::Borrowed(bytes) => Buffer::copy_of(bytes),
        }
    }

    /// The bytes as a reference-counted [`Bytes`], if they are shared.
    pub fn shared(&self) -> Option<&Bytes> {
        match &self.bytes {
            Repr::Shared(bytes) => Some(bytes),
            Repr::Borrowed(_) => None,
        }
    }
}

impl Default for Buffer<'_> {
    fn default() -> Self {
        Self {
            bytes: Repr::Borrowed(&[]),
            backing: None,
        }
    }
}

impl Deref for Buffer<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.bytes {
            Repr::Shared(bytes) => bytes,
            Repr::Borrowed(bytes) => bytes,
        }
    }
}

impl AsRef<[u8]> for Buffer<'_> {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl From<Bytes> for Buffer<'static> {
    fn from(bytes: Bytes) -> Self {
        Self {
            bytes: Repr::Shared(bytes),
            backing: None,
        }
    }
}

impl From<Vec<u8>> for Buffer<'static> {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl PartialEq for Buffer<'_> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl fmt::Debug for Buffer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_borrowed() {
            "borrowed"
        } else {
            "shared"
        };
        write!(f, "Buffer({} bytes, {kind}", self.len())?;
        match &self.backing {
            Some(backing) => write!(f, ", {:?} at {})", backing.stability, backing.offset),
            None => f.write_str(")"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clone_and_slice_share_the_bytes() {
        let buffer = Buffer::from(vec![1, 2, 3, 4]);
        let part = buffer.slice(1..3);
        assert_eq!(&*part, [2, 3]);
        assert_eq!(part.as_ptr(), buffer[1..].as_ptr());
        assert_eq!(buffer.clone().as_ptr(), buffer.as_ptr());
    }

    #[test]
    fn a_slice_moves_the_backing_along() {
        let file = Arc::new(OwnedFd::from(std::fs::File::open("/dev/null").unwrap()));
        let backing = Backing {
            file,
            offset: 64,
            stability: Stability::Sealed,
        };
        let part = Buffer::from(vec![0; 128])
            .with_backing(backing)
            .slice(32..40);
        assert_eq!(part.backing().unwrap().offset, 96);
    }
}
