use std::any::Any;
use std::fmt;
use std::ops::{Deref, Range};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use bytes::Bytes;

/// A run of bytes that belongs to a message: shared and reference counted, or borrowed for the length of a send.
///
/// Cloning and slicing are O(1) and never copy. A buffer may know the file or memory descriptor its bytes lie in (its
/// [`Backing`]); a transport uses that to pass the descriptor or to call sendfile(2) instead of touching the bytes.
///
/// Bytes of one's own, borrowed or handed over:
///
/// ```
/// use numpush_message::Buffer;
///
/// let numbers = [1_u8, 2, 3];
/// let borrowed = Buffer::borrowed(&numbers);
/// assert!(borrowed.is_borrowed());
///
/// let handed_over = Buffer::from(vec![1_u8, 2, 3]);
/// assert_eq!(borrowed, handed_over);
/// ```
///
/// A slice shares the bytes:
///
/// ```
/// use numpush_message::Buffer;
///
/// let whole = Buffer::from(vec![1_u8, 2, 3, 4]);
/// let part = whole.slice(1..3);
/// assert_eq!(*part, [2, 3]);
/// assert_eq!(part.as_ptr(), whole[1..].as_ptr());
/// ```
///
/// Any owner of bytes can be taken, and comes back once the buffer is its only user:
///
/// ```
/// use numpush_message::Buffer;
///
/// let text = String::from("as it is");
/// let buffer = Buffer::from_owner(text);
/// assert_eq!(buffer.owner::<String>().map(String::len), Some(8));
///
/// let clone = buffer.clone();
/// let buffer = buffer.into_owner::<String>().unwrap_err();
/// drop(clone);
/// assert_eq!(buffer.into_owner::<String>(), Ok("as it is".to_owned()));
/// ```
#[derive(Clone)]
pub struct Buffer<'a> {
    bytes: Repr<'a>,
    backing: Option<Backing>,
}

#[derive(Clone)]
enum Repr<'a> {
    Borrowed(&'a [u8]),
    /// Bytes `range` of those that the owner returns.
    Owned {
        owner: Arc<dyn Owner>,
        range: Range<usize>,
    },
}

/// Whoever keeps bytes alive. It returns the same bytes each time.
trait Owner: AsRef<[u8]> + Any + Send + Sync {}

impl<T: AsRef<[u8]> + Any + Send + Sync> Owner for T {}

/// The descriptor that a buffer's bytes lie in, and where in it they begin.
#[derive(Clone, Debug)]
pub struct Backing {
    /// The file or memory descriptor.
    pub file: Arc<OwnedFd>,
    /// Byte offset of the buffer's first byte in `file`.
    pub offset: u64,
    /// What may happen to the bytes while somebody else reads them.
    pub stability: Stability,
}

/// What may happen to the bytes of a descriptor.
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

    /// Takes any owner of bytes without copying them. It must return the same bytes each time.
    pub fn from_owner<T: AsRef<[u8]> + Send + Sync + 'static>(owner: T) -> Buffer<'static> {
        let range = 0..owner.as_ref().len();
        let owner = Arc::new(owner);
        Buffer {
            bytes: Repr::Owned { owner, range },
            backing: None,
        }
    }

    /// Bytes `range` of those of an owner that is shared already.
    pub(crate) fn from_shared<T>(owner: Arc<T>, range: Range<usize>) -> Buffer<'static>
    where
        T: AsRef<[u8]> + Send + Sync + 'static,
    {
        Buffer {
            bytes: Repr::Owned { owner, range },
            backing: None,
        }
    }

    /// The owner of the bytes, if it is a `T`. It may own more bytes than this buffer shows.
    pub fn owner<T: 'static>(&self) -> Option<&T> {
        match &self.bytes {
            Repr::Owned { owner, .. } => {
                let owner: &dyn Any = &**owner;
                owner.downcast_ref()
            }
            Repr::Borrowed(_) => None,
        }
    }

    /// Bytes of the owner that this buffer shows; `None` if the bytes are borrowed.
    pub fn owner_range(&self) -> Option<Range<usize>> {
        match &self.bytes {
            Repr::Owned { range, .. } => Some(range.clone()),
            Repr::Borrowed(_) => None,
        }
    }

    /// Number of buffers that keep the owner: this one, its clones and its slices. Zero if the bytes are borrowed.
    pub fn owner_users(&self) -> usize {
        match &self.bytes {
            Repr::Owned { owner, .. } => Arc::strong_count(owner),
            Repr::Borrowed(_) => 0,
        }
    }

    /// Takes the owner back.
    ///
    /// # Errors
    /// The buffer itself, if its owner is no `T` or has other users: clones, slices, or a [`Bytes`] made of one.
    pub fn into_owner<T>(self) -> Result<T, Self>
    where
        T: AsRef<[u8]> + Send + Sync + 'static,
    {
        let Self { bytes, backing } = self;
        let Repr::Owned { owner, range } = bytes else {
            return Err(Self { bytes, backing });
        };
        let back = |owner: Arc<dyn Owner>| Self {
            bytes: Repr::Owned { owner, range },
            backing,
        };
        // Looked at first: a failed downcast of the `Arc` would not return it as an owner of bytes.
        let any: &dyn Any = &*owner;
        if !any.is::<T>() {
            return Err(back(owner));
        }
        let any: Arc<dyn Any + Send + Sync> = owner;
        match any.downcast::<T>() {
            Ok(owner) => Arc::try_unwrap(owner).map_err(|owner| back(owner)),
            Err(_) => unreachable!("the owner was a `T` a line above"),
        }
    }

    /// Sets the descriptor in which the bytes lie.
    #[must_use]
    pub fn with_backing(mut self, backing: Backing) -> Self {
        self.backing = Some(backing);
        self
    }

    /// The descriptor that the bytes lie in, if they lie in one.
    pub fn backing(&self) -> Option<&Backing> {
        self.backing.as_ref()
    }

    /// The bytes of `range`, sharing this buffer's owner and its backing.
    ///
    /// # Panics
    /// When `range` reaches outside the buffer, as slicing does.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Self {
        self.clone().into_slice(range)
    }

    /// As [`Self::slice`], of a buffer that is of no more use.
    pub(crate) fn into_slice(mut self, range: Range<usize>) -> Self {
        if let Some(backing) = &mut self.backing {
            backing.offset += range.start as u64;
        }
        match &mut self.bytes {
            Repr::Owned { range: own, .. } => {
                assert!(
                    range.start <= range.end,
                    "slice {range:?} ends before it begins"
                );
                assert!(
                    range.end <= own.len(),
                    "slice {range:?} of {} bytes",
                    own.len()
                );
                *own = own.start + range.start..own.start + range.end;
            }
            Repr::Borrowed(bytes) => *bytes = &bytes[range],
        }
        self
    }

    /// Number of bytes.
    pub fn len(&self) -> usize {
        match &self.bytes {
            Repr::Borrowed(bytes) => bytes.len(),
            Repr::Owned { range, .. } => range.len(),
        }
    }

    /// True if there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// True if the bytes are borrowed, so that they cannot be handed over, only written or copied.
    pub fn is_borrowed(&self) -> bool {
        matches!(self.bytes, Repr::Borrowed(_))
    }

    /// The same bytes, owned: O(1) if they are shared already, else copied to the heap.
    pub fn into_owned_or_copy(self) -> Buffer<'static> {
        match self.bytes {
            Repr::Owned { owner, range } => Buffer {
                bytes: Repr::Owned { owner, range },
                backing: self.backing,
            },
            Repr::Borrowed(bytes) => Buffer::copy_of(bytes),
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
            Repr::Owned { owner, range } => &(**owner).as_ref()[range.clone()],
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
        Self::from_owner(bytes)
    }
}

impl From<Vec<u8>> for Buffer<'static> {
    fn from(bytes: Vec<u8>) -> Self {
        Self::from_owner(bytes)
    }
}

/// The same bytes, reference counted; copies nothing.
impl From<Buffer<'static>> for Bytes {
    fn from(buffer: Buffer<'static>) -> Self {
        match (buffer.owner::<Self>(), buffer.owner_range()) {
            (Some(bytes), Some(range)) => bytes.slice(range),
            _ => Self::from_owner(buffer),
        }
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
    fn an_owner_comes_back_from_its_last_slice() {
        let whole = Buffer::from_owner(vec![1, 2, 3, 4]);
        let part = whole.slice(1..3);
        let nothing = part.slice(1..1);
        assert_eq!(nothing.owner::<Vec<u8>>(), Some(&vec![1, 2, 3, 4]));
        assert_eq!(part.slice(1..2).owner_range(), Some(2..3));
        assert_eq!(part.owner_users(), 3);
        assert!(
            part.clone().into_owner::<Vec<u8>>().is_err(),
            "others have it"
        );
        drop((whole, nothing));
        assert_eq!(part.owner_users(), 1);
        let part = part.into_owner::<String>().unwrap_err();
        assert_eq!(*part, [2, 3], "no string: the buffer is as it was");
        assert_eq!(part.into_owner::<Vec<u8>>(), Ok(vec![1, 2, 3, 4]));
        assert!(Buffer::borrowed(&[1]).into_owner::<Vec<u8>>().is_err());
    }

    #[test]
    fn bytes_are_shared_both_ways() {
        let bytes = Bytes::from(vec![1, 2, 3, 4]);
        let part = Buffer::from(bytes.clone()).slice(1..3);
        assert_eq!(Bytes::from(part).as_ptr(), bytes[1..].as_ptr());
        let buffer = Buffer::from(vec![1, 2, 3, 4]);
        assert_eq!(Bytes::from(buffer.clone()).as_ptr(), buffer.as_ptr());
    }

    #[test]
    #[should_panic(expected = "slice 3..5 of 4 bytes")]
    fn a_slice_of_a_slice_stays_within_it() {
        let _ = Buffer::from(vec![0; 8]).slice(0..4).slice(3..5);
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
